//! `cargo xtask build`: builds workers with the commands of their wrangler.toml.
//!
//! worker-build writes to a folder beside `build/` and swaps the two at the end. A second build of the same worker
//! waits.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use crate::repo::Repo;
use crate::{node, process, tools};

/// The script that bundles the page of a worker, if the page has to be bundled.
const PAGE: &str = "page/build.mjs";

pub(crate) fn run(repo: &Repo, example: Option<&str>) -> Result<()> {
    let workers = match example {
        Some(name) => vec![repo.example(name)?],
        None => repo.workers()?,
    };
    tools::install(repo)?;
    build_all(repo, &workers)
}

/// Builds two workers at a time: cargo and wasm-opt use one core each for most of their time. Stops at the first error.
pub(crate) fn build_all(repo: &Repo, workers: &[PathBuf]) -> Result<()> {
    let waiting = Mutex::new(workers.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let built = || {
        while let Some(worker) = next() {
            if let Err(error) = build(repo, worker) {
                while next().is_some() {}
                return Err(error);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(built);
        let one = built();
        let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
        one.and(other)
    })
}

pub(crate) fn build(repo: &Repo, worker: &Path) -> Result<()> {
    eprintln!("==> building {}", repo.display(worker));
    let failed = || format!("{} was not built", repo.display(worker));
    let page = worker.join(PAGE);
    if page.is_file() {
        process::run(node::node(repo)?.arg(page)).with_context(failed)?;
    }
    let mut command = Command::new(repo.path("target/tools/bin/worker-build"));
    command.arg("--release").current_dir(worker);
    // wasm-opt takes minutes for the many rooms of the tests, whose size does not matter.
    if repo.is_test_room(worker) {
        command.arg("--no-opt");
    }
    tools::environment(repo, &mut command)?;
    process::run(&mut command).with_context(failed)
}
