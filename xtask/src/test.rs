//! `cargo xtask test`: runs every test of the repository in steps, and prints a summary.

use std::fmt;
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{self, Interrupted};
use crate::repo::Repo;
use crate::{bench, build, node, package, readme, starter, tail, tools, torture};

/// The time limit of one file of end-to-end tests, in milliseconds. It keeps a hanging file from blocking the rest.
const E2E_FILE_TIMEOUT: u32 = 10 * 60 * 1000;

/// The oldest supported compatibility date.
///
/// It introduced `handle_cross_request_promise_resolution`. Before it, a waiting call is not notified if a panic in
/// another room of the isolate ends it.
const OLDEST_DATE: &str = "2024-10-14";

/// The end-to-end tests that do not depend on the date.
const UNDATED: [&str; 5] =
    ["auction.test.mjs", "bindings.test.mjs", "client.test.mjs", "document.test.mjs", "page.test.mjs"];

/// The variable that replaces the date of a worker in tests/e2e/harness.mjs.
const COMPATIBILITY_DATE: &str = "COMPATIBILITY_DATE";

/// The package that tests completion in an editor.
const EDITOR: &str = "editor-tests";

/// The package that builds the book, and checks the code blocks of the documents.
const BOOK: &str = "book";

/// The package that Clippy checks with stricter lints. It has nothing to run.
const LINTS: &str = "lint-tests";

/// The package of the client in Rust, and its test with a real room.
const RUST_CLIENT: (&str, &str) = ("room-client", "kills");

/// The folder of the npm package with the client in TypeScript.
const TYPESCRIPT_CLIENT: &str = "clients/typescript";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Installs the tools.
    Tools,
    /// Runs the unit, integration and documentation tests on this machine.
    Native,
    /// Runs Clippy on generated code.
    Lints,
    /// Builds crates outside the workspace, as a user would.
    Outside,
    /// Tests completion in an editor, also in a file with a mistake.
    Editor,
    /// Tests the published packages from their archives.
    Package,
    /// Tests the clients of the protocol.
    Clients,
    /// Checks the code blocks of the documents, and the links of the book.
    Book,
    /// Goes through the README of a new crate, as a user would.
    Starter,
    /// Builds every worker for WebAssembly.
    Wasm,
    /// Runs the conformance suite in memory and on a real workerd.
    Conformance,
    /// Tests the workers on a real workerd, and the page in a real browser.
    E2e,
    /// Attacks rooms on a real workerd for a minute or two.
    Torture,
    /// Repeats the conformance and end-to-end tests with the oldest supported compatibility date.
    Oldest,
    /// Runs the benchmark briefly, to check that it works.
    Bench,
}

impl Step {
    const ALL: [Self; 15] = [
        Self::Tools,
        Self::Native,
        Self::Lints,
        Self::Outside,
        Self::Editor,
        Self::Package,
        Self::Clients,
        Self::Book,
        Self::Starter,
        Self::Wasm,
        Self::Conformance,
        Self::E2e,
        Self::Torture,
        Self::Oldest,
        Self::Bench,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Native => "native",
            Self::Lints => "lints",
            Self::Outside => "outside",
            Self::Editor => "editor",
            Self::Package => "package",
            Self::Clients => "clients",
            Self::Book => "book",
            Self::Starter => "starter",
            Self::Wasm => "wasm",
            Self::Conformance => "conformance",
            Self::E2e => "e2e",
            Self::Torture => "torture",
            Self::Oldest => "oldest",
            Self::Bench => "bench",
        }
    }

    fn run(self, repo: &Repo) -> Result<()> {
        match self {
            Self::Tools => tools::install_all(repo),
            // The excluded packages have their own steps.
            Self::Native => {
                let excluded = [EDITOR, LINTS, BOOK].into_iter().flat_map(|package| ["--exclude", package]);
                process::run(cargo(repo).args(["test", "--workspace"]).args(excluded))
            }
            Self::Lints => process::run(cargo(repo).args(["clippy", "--package", LINTS, "--examples", "--keep-going"])),
            Self::Outside => outside(repo),
            Self::Editor => editor(repo),
            Self::Package => package::check(repo),
            Self::Clients => node::test_package(repo, TYPESCRIPT_CLIENT),
            Self::Book => book(repo),
            Self::Starter => starter::check(repo),
            Self::Wasm => build::run(repo, None),
            Self::Conformance => conformance(repo, "both", None),
            Self::E2e => {
                e2e(repo, None)?;
                rust_client(repo)
            }
            Self::Torture => torture::short(repo),
            Self::Oldest => oldest(repo),
            Self::Bench => bench::quick(repo),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|step| step.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no step `{name}`; the steps are: {names}")
        })
    }
}

pub(crate) fn run(repo: &Repo, only: &[Step]) -> Result<ExitCode> {
    let steps = Step::ALL.into_iter().filter(|step| only.is_empty() || only.contains(step));
    let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
    for step in steps {
        eprintln!("\n==> {step}");
        let started = Instant::now();
        tail::record();
        let result = step.run(repo);
        let lines = tail::recorded();
        if let Err(error) = &result {
            if error.is::<Interrupted>() {
                bail!(Interrupted);
            }
            eprintln!("==> {step} failed: {error:#}");
            failures.push((step, lines, format!("{error:#}")));
        }
        outcomes.push((step, result.is_ok(), started.elapsed()));
    }
    for (step, lines, error) in failures.iter().filter(|(_, lines, _)| !lines.is_empty()) {
        println!("\n==> the last lines of {step}");
        lines.iter().for_each(|line| println!("{line}"));
        println!("==> {step} failed: {error}");
    }
    print!("{}", summary(&outcomes));
    let passed = outcomes.iter().all(|(_, passed, _)| *passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(outcomes: &[(Step, bool, Duration)]) -> String {
    let mut text = String::from("\n");
    for (step, passed, took) in outcomes {
        let outcome = if *passed { "passed" } else { "FAILED" };
        text += &format!("{step:<11} {outcome} {:>7.1} s\n", took.as_secs_f64());
    }
    let passed = outcomes.iter().filter(|(_, passed, _)| *passed).count();
    text + &format!("{passed} passed, {} failed\n", outcomes.len() - passed)
}

fn outside(repo: &Repo) -> Result<()> {
    let first = readme::first_room(repo)?;
    for manifest in [first, repo.path("tests/outside/Cargo.toml")] {
        for target in [&[][..], &["--target", "wasm32-unknown-unknown"]] {
            let mut cargo = cargo(repo);
            cargo.args(["check", "--workspace", "--manifest-path"]).arg(&manifest);
            process::run(cargo.arg("--target-dir").arg(repo.target()).args(target))?;
        }
    }
    readme::check_without_worker(repo)?;
    let mut tests = cargo(repo);
    tests.args(["test", "--package", "auction-house", "--manifest-path", "tests/outside/Cargo.toml", "--target-dir"]);
    process::run(tests.arg(repo.target()))
}

fn editor(repo: &Repo) -> Result<()> {
    tools::install_editor(repo)?;
    // The test starts a rust-analyzer, which must not survive an interrupted run.
    let mut test = cargo(repo);
    test.args(["test", "--package", EDITOR]);
    let status = process::run_service(&mut test, |_| {})?;
    if !status.success() {
        bail!("the test of the editor failed ({status})");
    }
    Ok(())
}

fn book(repo: &Repo) -> Result<()> {
    // Its tests need the compiler of TypeScript, and the types that the client in TypeScript is written with.
    node::install(repo)?;
    node::install_folder(repo, TYPESCRIPT_CLIENT)?;
    let mut tests = cargo(repo);
    tools::environment(repo, &mut tests)?;
    process::run(tests.args(["test", "--package", BOOK]))
}

fn conformance(repo: &Repo, on: &str, compatibility_date: Option<&str>) -> Result<()> {
    node::install(repo)?;
    // The suite starts a workerd, which must not survive an interrupted run.
    let mut suite = cargo(repo);
    tools::environment(repo, &mut suite)?;
    suite.args(["run", "--package", "conformance", "--", "--on", on]);
    suite.envs(compatibility_date.map(|date| (COMPATIBILITY_DATE, date)));
    let status = process::run_service(&mut suite, |_| {})?;
    if !status.success() {
        bail!("the conformance suite failed ({status})");
    }
    Ok(())
}

fn e2e(repo: &Repo, compatibility_date: Option<&str>) -> Result<()> {
    node::install(repo)?;
    let mut files = repo.e2e_tests()?;
    match compatibility_date {
        None => node::install_browser(repo)?,
        // Browsers and generated files do not depend on the date.
        Some(_) => files.retain(|file| !UNDATED.iter().any(|name| file.ends_with(name))),
    }
    if files.is_empty() {
        bail!("there is no tests/e2e/*.test.mjs");
    }
    let mut node = node::node(repo)?;
    // Two files at a time: each starts its own workerd and perhaps a browser, and waits for most of its time.
    node.args(["--test", "--test-reporter=spec", "--test-concurrency=2"])
        .arg(format!("--test-timeout={E2E_FILE_TIMEOUT}"))
        .args(files)
        .envs(compatibility_date.map(|date| (COMPATIBILITY_DATE, date)));
    let status = process::run_service(&mut node, |_| {})?;
    if !status.success() {
        bail!("`node --test` failed ({status})");
    }
    Ok(())
}

/// Runs the client in Rust with a real room.
fn rust_client(repo: &Repo) -> Result<()> {
    let (package, test) = RUST_CLIENT;
    // The test starts a workerd, which must not survive an interrupted run.
    let mut cargo = cargo(repo);
    tools::environment(repo, &mut cargo)?;
    cargo.args(["test", "--package", package, "--test", test, "--", "--ignored", "--nocapture"]);
    let status = process::run_service(&mut cargo, |_| {})?;
    if !status.success() {
        bail!("the test of {package} with a real room failed ({status})");
    }
    Ok(())
}

/// Repeats the tests with the oldest date. The other steps use the recent dates of the wrangler.toml files.
fn oldest(repo: &Repo) -> Result<()> {
    conformance(repo, "workerd", Some(OLDEST_DATE))?;
    e2e(repo, Some(OLDEST_DATE))
}

fn cargo(repo: &Repo) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repo.root());
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_ends_with_the_counts() {
        let took = Duration::from_millis(1_250);
        let text = summary(&[(Step::Native, true, took), (Step::E2e, false, took)]);
        let expected = "\nnative      passed     1.2 s\ne2e         FAILED     1.2 s\n1 passed, 1 failed\n";
        assert_eq!(text, expected);
    }
}
