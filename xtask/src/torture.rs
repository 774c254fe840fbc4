//! `cargo xtask torture`: attacks rooms on a real workerd; see docs/torture.md.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::repo::{Repo, TORTURE_ROOMS};
use crate::{build, node, process, tools};

/// Builds the rooms and attacks them. It passes the arguments on unchanged.
pub(crate) fn run(repo: &Repo, arguments: &[OsString]) -> Result<()> {
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        tools::install(repo)?;
        build::build(repo, &repo.path(TORTURE_ROOMS))?;
    }
    attack(repo, &["--profile", "lives"], arguments)
}

/// Attacks the rooms that are built already, for a minute or two, with the same choices each time.
///
/// Two parts reach into the process of workerd as only Linux lets them. Elsewhere they are left out.
pub(crate) fn short(repo: &Repo) -> Result<()> {
    node::install(repo)?;
    let mut arguments = vec!["--short", "--seed", "3"];
    if !cfg!(target_os = "linux") {
        eprintln!("without the faults and the load, which need Linux");
        arguments.extend(["deploys", "hostile"]);
    }
    let arguments: Vec<_> = arguments.into_iter().map(OsString::from).collect();
    attack(repo, &[], &arguments)
}

/// `options` go to cargo. They choose between a debug build, which is quicker to compile, and an optimized one, which uses a
/// fraction of the CPU.
fn attack(repo: &Repo, options: &[&str], arguments: &[OsString]) -> Result<()> {
    // The suite starts a workerd, which must not survive an interrupted run.
    let mut suite = Command::new("cargo");
    suite.current_dir(repo.root());
    tools::environment(repo, &mut suite)?;
    suite.args(["run", "--package", "torture"]).args(options).arg("--").args(arguments);
    let status = process::run_service(&mut suite, |_| {})?;
    if !status.success() {
        bail!("the torture suite failed ({status})");
    }
    Ok(())
}
