//! `cargo xtask build`: workers, built the way their wrangler.toml builds them.
//!
//! worker-build writes beside `build/` and swaps at the end; it makes a second build of the same worker wait.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::repo::Repo;
use crate::{process, tools};

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
    let mut command = Command::new(repo.path("target/tools/bin/worker-build"));
    command.arg("--release").current_dir(worker);
    tools::environment(repo, &mut command)?;
    process::run(&mut command).with_context(|| format!("{} was not built", repo.display(worker)))
}
