//! `cargo xtask build`: builds workers with the commands of their wrangler.toml.
//!
//! worker-build writes to a folder beside `build/` and swaps the two at the end. A second build of the same worker
//! waits.

use std::path::Path;
use std::process::Command;

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
    for worker in workers {
        build(repo, &worker)?;
    }
    Ok(())
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
