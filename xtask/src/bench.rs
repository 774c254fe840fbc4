//! `cargo xtask bench`: builds the rooms of the benchmark and measures them; see docs/benchmarks.md.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::repo::Repo;
use crate::{build, node, process, tools};

/// Runs the benchmark. It passes the arguments on unchanged.
pub(crate) fn run(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    // Compile times are measured with separate crates, so no room is built here.
    if has(arguments, "--compile") {
        tools::install_target(repo)?;
        return measure(repo, arguments);
    }
    tools::install(repo)?;
    let mut workers = repo.bench_workers();
    workers.push(repo.example("counter")?);
    build::build_all(repo, &workers)?;
    engine(repo, arguments)?;
    measure(repo, arguments)
}

/// Runs the benchmark briefly on the rooms that are built already, to check that it works.
pub(crate) fn quick(repo: &Repo) -> Result<()> {
    node::install(repo)?;
    let quick = [OsString::from("--quick")];
    engine(repo, &quick)?;
    measure(repo, &quick)
}

fn measure(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    // The benchmark starts a workerd, which must not survive an interrupted run.
    let mut bench = cargo(repo);
    bench.args(["run", "--release", "--package", "bench", "--"]).args(arguments);
    let status = process::run_service(&mut bench, |_| {})?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(())
}

/// Benchmarks the engine alone, if no option selects a part or asks for help.
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
