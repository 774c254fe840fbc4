//! Installs the pinned tools if they are missing. If they are present, this takes milliseconds.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::{node, process};

/// The release that matches the `worker` crate of the workspace.
pub(crate) const WORKER_BUILD: &str = "0.8.7";
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Installs the tools of every command.
pub(crate) fn install_all(repo: &Repo) -> Result<()> {
    install(repo)?;
    install_editor(repo)?;
    node::install_browser(repo)
}

/// Installs the tools that build and serve a worker.
pub(crate) fn install(repo: &Repo) -> Result<()> {
    install_rust(repo)?;
    node::install(repo)
}

/// Sets the environment of a worker's build, so that worker-build finds its tools and downloads nothing.
pub(crate) fn environment(repo: &Repo, command: &mut Command) -> Result<()> {
    let bin = repo.path("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(bin.clone()).chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(paths).context("PATH cannot be extended")?)
        .env("CARGO_INSTALL_ROOT", repo.path("target/tools"))
        .env("WASM_BINDGEN_BIN", bin.join("wasm-bindgen"))
        .env("WASM_OPT_BIN", repo.node_bin("wasm-opt"))
        .env("ESBUILD_BIN", repo.node_bin("esbuild"))
        // worker-build would print its own backtrace below each compiler error.
        .env("RUST_BACKTRACE", "0");
    Ok(())
}

fn install_rust(repo: &Repo) -> Result<()> {
    let _lock = lock(repo)?;
    install_target(repo)?;
    cargo_install(repo, "worker-build", "worker-build", WORKER_BUILD, &["--locked"])?;
    // Not `--locked`: only the version must match the library, not the dependencies.
    let bindgen = locked_version(&repo.path("Cargo.lock"), "wasm-bindgen")?;
    cargo_install(repo, "wasm-bindgen-cli", "wasm-bindgen", &bindgen, &[])
}

/// Installs rust-analyzer for the tests of the editor, with the standard library's source: without it `Result` is
/// unknown.
pub(crate) fn install_editor(repo: &Repo) -> Result<()> {
    let _lock = lock(repo)?;
    let mut analyzer = Command::new("rust-analyzer");
    analyzer.arg("--version").current_dir(repo.root());
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(repo.root());
    let has_sources = |root: String| Path::new(&root).join("lib/rustlib/src/rust/library").is_dir();
    if process::output(&mut analyzer)?.is_some() && process::output(&mut rustc)?.is_some_and(has_sources) {
        return Ok(());
    }
    need_rustup("rust-analyzer or the source of the standard library", "both")?;
    say("adding rust-analyzer and the source of the standard library to the Rust toolchain");
    let mut rustup = Command::new("rustup");
    process::run(rustup.args(["component", "add", "rust-analyzer", "rust-src"]).current_dir(repo.root()))
}

/// Takes the lock on target/tools. It is released when the file is closed.
pub(crate) fn lock(repo: &Repo) -> Result<File> {
    let root = repo.path("target/tools");
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock = File::create(root.join(".lock")).context("cannot create target/tools/.lock")?;
    lock.lock().context("cannot wait for another `cargo xtask` that installs tools")?;
    Ok(lock)
}

pub(crate) fn install_target(repo: &Repo) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM]).current_dir(repo.root());
    let installed = process::output(&mut rustc)?.is_some_and(|libs| Path::new(&libs).is_dir());
    if installed {
        return Ok(());
    }
    need_rustup(&format!("the Rust target {WASM}"), "the target")?;
    say(&format!("adding the Rust target {WASM}"));
    process::run(Command::new("rustup").args(["target", "add", WASM]).current_dir(repo.root()))
}

/// Returns an error if rustup, which adds the missing component, is not installed.
fn need_rustup(missing: &str, it: &str) -> Result<()> {
    if process::output(Command::new("rustup").arg("--version"))?.is_none() {
        bail!(
            "{missing} is missing and so is rustup, which adds it: \
             install rustup from https://rustup.rs, or {it} with your system's packages"
        );
    }
    Ok(())
}

/// Installs `package`, which contains `program`, unless exactly this version is installed.
fn cargo_install(repo: &Repo, package: &str, program: &str, version: &str, flags: &[&str]) -> Result<()> {
    let installed = process::output(Command::new(repo.path("target/tools/bin").join(program)).arg("--version"))?;
    if installed.is_some_and(|line| line.split(' ').next_back() == Some(version)) {
        return Ok(());
    }
    say(&format!("installing {package} {version} into target/tools (once, some minutes)"));
    let build = repo.path("target/tools-build");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["install", package, "--version", &format!("={version}"), "--force"])
        .args(flags)
        .arg("--root")
        .arg(repo.path("target/tools"))
        .arg("--target-dir")
        .arg(&build)
        // The tools run for seconds. Compiling them with all optimizations takes minutes.
        .envs(
            [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16")]
                .map(|(name, value)| (format!("CARGO_PROFILE_RELEASE_{name}"), value)),
        )
        .current_dir(repo.root());
    process::run(&mut cargo)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// The version of a package in a Cargo.lock. Cargo writes `version` on the line below `name`.
pub(crate) fn locked_version(lock: &Path, package: &str) -> Result<String> {
    let text = fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    find_locked(&text, package)
        .map(str::to_owned)
        .with_context(|| format!("{} has no package `{package}`", lock.display()))
}

fn find_locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

pub(crate) fn say(what: &str) {
    eprintln!("==> {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_of_just_that_package() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(find_locked(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(find_locked(lock, "wasm"), None);
    }
}
