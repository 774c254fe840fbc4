//! The measured files: the workers in the form for workerd, and workerd itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::variants::Worker;

const BUILD: &str = "run `cargo xtask bench`, which builds what it needs";

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    // Cargo sets the variable at run time, so a moved checkout works too.
    let crate_folder = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let crate_folder = PathBuf::from(crate_folder);
    crate_folder.ancestors().nth(2).unwrap_or(&crate_folder).to_owned()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), |dir| repository().join(dir))
}

/// The WebAssembly of a variant written in Rust.
pub(crate) fn wasm(worker: Worker) -> PathBuf {
    variant(worker).join("build/index_bg.wasm")
}

/// The source of a variant written in Rust.
pub(crate) fn source(worker: Worker) -> PathBuf {
    variant(worker).join("src/lib.rs")
}

/// The folder of a variant.
pub(crate) fn variant(worker: Worker) -> PathBuf {
    repository().join("tests/bench/variants").join(worker.name())
}

/// The path of workerd's own binary. npm's entry on the path is a Node.js script that starts it as another process.
pub(crate) fn workerd() -> Result<PathBuf> {
    let package = match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => "workerd-linux-64",
        ("linux", "aarch64") => "workerd-linux-arm64",
        ("macos", "x86_64") => "workerd-darwin-64",
        ("macos", "aarch64") => "workerd-darwin-arm64",
        (os, arch) => bail!("there is no workerd for {arch} {os}"),
    };
    let binary = repository().join("node_modules/@cloudflare").join(package).join("bin/workerd");
    if !binary.is_file() {
        bail!("{} is not there; {BUILD}", binary.display());
    }
    Ok(binary)
}

/// Copies the workers into one folder, as `config` expects them.
pub(crate) fn prepare(workers: &[Worker]) -> Result<TempDir> {
    let folder = TempDir::with_prefix("bench-").context("cannot make a temporary folder")?;
    for &worker in workers {
        let script = folder.path().join(format!("{worker}.js"));
        match worker {
            Worker::Bare => copy(&variant(worker).join("index.js"), &script)?,
            Worker::Partyserver => bundle(&variant(worker).join("index.js"), &script)?,
            Worker::Plain | Worker::Ours | Worker::Numbered => {
                copy(&variant(worker).join("build/index.js"), &script)?;
                copy(&wasm(worker), &script.with_extension("wasm"))?;
            }
        }
    }
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}; {BUILD}", from.display()))?;
    Ok(())
}

fn bundle(from: &Path, to: &Path) -> Result<()> {
    let esbuild = repository().join("node_modules/.bin/esbuild");
    let mut command = Command::new(&esbuild);
    command.arg(from).args(["--bundle", "--format=esm", "--external:cloudflare:workers", "--log-level=warning"]);
    command.arg(format!("--outfile={}", to.display()));
    let status = command.status().with_context(|| format!("cannot run {}; {BUILD}", esbuild.display()))?;
    if !status.success() {
        bail!("esbuild could not bundle {}", from.display());
    }
    Ok(())
}
