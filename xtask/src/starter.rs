//! Tests a new crate of `cargo xtask new` with the commands of its README, outside of the repository.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::{new, node, process, tools};

const NAME: &str = "team-list";

/// The command of the README that serves. It does not end.
const SERVE: &str = "npm run dev";

/// The command of the README that needs an account.
const DEPLOY: &str = "npm run deploy";

/// The command of the README that prints the size of the Worker, and the words before the size.
const SIZE: (&str, &str) = ("npm run size", "gzip: ");

/// The largest size of the Worker after compression, in KiB. It is a third of Cloudflare's limit for the free plan.
const MAX_SIZE: f64 = 1024.0;

/// The checks of the workflow that the README's commands do not contain.
const LINTS: [&[&str]; 3] = [
    &["fmt", "--check"],
    &["clippy", "--all-targets", "--", "-D", "warnings"],
    &["clippy", "--target", tools::WASM, "--", "-D", "warnings"],
];

/// The test of a served crate.
const TEST: &str = "tests/starter/starter.test.mjs";

/// The time limit of that test, in milliseconds. It contains a build.
const TIMEOUT: u32 = 10 * 60 * 1000;

/// Creates a crate and runs the commands of its README.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    tools::install(repo)?;
    node::install_browser(repo)?;
    let folder = folder(repo);
    remove(&folder)?;
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let own = folder.join(NAME);
    new::run(repo, &own, None)?;

    let readme = fs::read_to_string(own.join("README.md")).context("cannot read the new crate's README.md")?;
    let commands = commands(&readme);
    for needed in [SERVE, DEPLOY, SIZE.0] {
        if !commands.contains(&needed) {
            bail!("the starter's README has no command `{needed}`: {commands:?}");
        }
    }
    for command in commands {
        eprintln!("\n$ {command}");
        match command {
            SERVE => serve(repo, &own)?,
            DEPLOY => eprintln!("(needs an account)"),
            command if command == SIZE.0 => {
                let size = size(&output_of(&mut shell(repo, &own, command)?)?)?;
                if size > MAX_SIZE {
                    bail!("the Worker has {size} KiB after compression, more than {MAX_SIZE}");
                }
            }
            command => process::run(&mut shell(repo, &own, command)?)?,
        }
    }
    for arguments in LINTS {
        let mut cargo = Command::new("cargo");
        environment(repo, &own, cargo.args(arguments))?;
        process::run(&mut cargo)?;
    }
    // After a failure it stays, to be looked at.
    remove(&folder)
}

/// A folder that is the same in each run, so that Cargo compiles only what has changed since the last one.
fn folder(repo: &Repo) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    repo.root().hash(&mut hasher);
    std::env::temp_dir().join(format!("rooms-starter-{:016x}", hasher.finish()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The commands in the README's blocks of shell code, without their comments.
fn commands(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn shell(repo: &Repo, own: &Path, line: &str) -> Result<Command> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut command = Command::new(shell);
    environment(repo, own, command.args([flag, line]))?;
    Ok(command)
}

fn environment(repo: &Repo, own: &Path, command: &mut Command) -> Result<()> {
    tools::environment(repo, command)?;
    command
        .current_dir(own)
        // The toolchain is that of the new crate.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", repo.target())
        .envs([("npm_config_audit", "false"), ("npm_config_fund", "false"), ("npm_config_prefer_offline", "true")])
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_SEND_ERROR_REPORTS", "false")
        // The banner makes a request for newer releases.
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("WRANGLER_LOG_PATH", repo.path("target/wrangler/logs"))
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
    Ok(())
}

/// Serves the crate, and tests its WebSockets and its page.
fn serve(repo: &Repo, own: &Path) -> Result<()> {
    let mut node = node::node(repo)?;
    environment(repo, own, &mut node)?;
    // The test starts the server, which must not survive an interrupted run.
    node.args(["--test", "--test-reporter=spec", &format!("--test-timeout={TIMEOUT}"), TEST]).current_dir(repo.root());
    node.env("STARTER", own).env("STARTER_COMMAND", SERVE);
    let status = process::run_service(&mut node, |_| {})?;
    if !status.success() {
        bail!("the test of a new crate's page failed ({status})");
    }
    Ok(())
}

/// Runs a command, passes on what it prints, and returns it.
fn output_of(command: &mut Command) -> Result<String> {
    let mut reader = None;
    let status = process::run_service(command.stdout(Stdio::piped()), |child| {
        reader = child.stdout.take().map(|stdout| {
            thread::spawn(move || {
                let mut text = String::new();
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // If the terminal is gone, reading must continue, or the command would block.
                    let _ = writeln!(io::stdout(), "{line}");
                    text += &line;
                    text.push('\n');
                }
                text
            })
        });
    })?;
    if !status.success() {
        bail!("the command failed ({status})");
    }
    let text = reader.and_then(|reader| reader.join().ok());
    text.context("the output of the command was not read")
}

/// The size after compression that wrangler prints, in KiB.
fn size(output: &str) -> Result<f64> {
    let size = output.split_once(SIZE.1).and_then(|(_, rest)| rest.split_once(" KiB")).map(|(size, _)| size.parse());
    match size {
        Some(Ok(size)) => Ok(size),
        _ => bail!("`{}` printed no size", SIZE.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_those_of_the_blocks_of_shell_code() {
        let readme =
            "# a\n```sh\nnpm test    # installs\n\n# alone\nA=1 b c\n```\n```rust\nlet x;\n```\n```sh\nd\n```\n";
        assert_eq!(commands(readme), ["npm test", "A=1 b c", "d"]);
    }

    #[test]
    fn the_size_is_that_after_compression() {
        let output = "Total Upload: 812.40 KiB / gzip: 291.37 KiB\nmore";
        assert_eq!(size(output).expect("a size"), 291.37);
        assert!(size("Total Upload: 812.40 KiB").is_err());
        assert!(size("gzip: none KiB").is_err());
    }

    #[test]
    fn the_workflow_runs_the_commands_that_are_tested() -> Result<()> {
        let repo = Repo::find()?;
        let workflow = fs::read_to_string(repo.path("starter/.github/workflows/ci.yml"))?;
        let runs: Vec<_> = workflow.lines().filter_map(|line| line.trim().strip_prefix("- run: ")).collect();
        let lints = LINTS.map(|arguments| format!("cargo {}", arguments.join(" ")));
        let mut expected = vec!["rustup toolchain install"];
        expected.extend(lints.iter().map(String::as_str));
        expected.extend(["npm install-test", SIZE.0]);
        assert_eq!(runs, expected);
        let readme = fs::read_to_string(repo.path("starter/README.md"))?;
        assert!(commands(&readme).contains(&"npm install-test"));
        Ok(())
    }
}
