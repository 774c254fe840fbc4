//! `cargo xtask bench`: builds the rooms of the benchmark and measures them; see docs/benchmarks.md.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::{build, node, process, tools};

/// Measures. The arguments are the benchmark's own.
pub(crate) fn run(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    // What compiling costs is measured with crates of its own.
    if has(arguments, "--compile") {
        tools::install_target(repo)?;
        return measure(repo, arguments);
    }
    tools::install(repo)?;
    for worker in repo.bench_workers().into_iter().chain([repo.example("counter")?]) {
        build::build(repo, &worker)?;
    }
    engine(repo, arguments)?;
    measure(repo, arguments)
}

/// A little of everything: whether it works, not what it costs. It takes what is built.
pub(crate) fn quick(repo: &Repo) -> Result<()> {
    node::install(repo)?;
    let quick = [OsString::from("--quick")];
    engine(repo, &quick)?;
    measure(repo, &quick)
}

fn measure(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    // It starts a workerd: an interrupted run is not to leave one behind.
    let mut bench = cargo(repo);
    bench.args(["run", "--release", "--package", "bench", "--"]).args(arguments);
    let status = process::run_service(&mut bench, |_| {})?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(())
}

/// The engine alone: only when everything is measured, or tried.
fn engine(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    if ["--only", "--help", "-h"].iter().any(|wanted| has(arguments, wanted)) {
        return Ok(());
    }
    let mut criterion = cargo(repo);
    criterion.args(["bench", "--package", "bench-engine", "--bench", "engine", "--"]);
    criterion.args(has(arguments, "--quick").then_some("--test"));
    process::run(&mut criterion)
}

fn has(arguments: &[OsString], wanted: &str) -> bool {
    arguments.iter().any(|argument| argument == wanted)
}

fn cargo(repo: &Repo) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repo.root());
    cargo
}
