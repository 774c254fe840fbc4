//! The paths of this repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::UsageError;

/// The workers that only tests use.
pub(crate) const TORTURE_ROOMS: &str = "tests/torture/rooms";
const TEST_ROOMS: [&str; 3] = ["tests/e2e/rooms", "tests/conformance/rooms", TORTURE_ROOMS];

/// The workers that are only measured. They have no wrangler.toml, because the benchmark configures workerd itself.
const BENCH_WORKERS: [&str; 3] =
    ["tests/bench/variants/plain", "tests/bench/variants/numbered", "tests/bench/variants/ours"];

#[derive(Debug)]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable at run time, so that a checkout that was moved is still found.
        let xtask =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = xtask.parent().context("the crate `xtask` must lie in the workspace")?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory, which all builds share.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |dir| self.path(dir))
    }

    /// The path of a program in node_modules.
    pub(crate) fn node_bin(&self, name: &str) -> PathBuf {
        self.path("node_modules/.bin").join(name)
    }

    /// The folder of an example. An unknown name is a usage error.
    pub(crate) fn example(&self, name: &str) -> Result<PathBuf> {
        let examples = self.examples()?;
        if let Some(found) = examples.iter().find(|folder| folder.file_name().is_some_and(|found| found == name)) {
            return Ok(found.clone());
        }
        let names: Vec<_> = examples.iter().filter_map(|folder| folder.file_name()?.to_str()).collect();
        Err(UsageError(format!("there is no example `{name}`; choose one of: {}", names.join(", "))).into())
    }

    /// Every folder that `worker-build` can build, examples first.
    pub(crate) fn workers(&self) -> Result<Vec<PathBuf>> {
        let mut workers = self.examples()?;
        workers.extend(TEST_ROOMS.map(|folder| self.path(folder)).into_iter().filter(|folder| is_worker(folder)));
        workers.extend(self.bench_workers());
        Ok(workers)
    }

    /// Tells whether only tests use the worker of a folder.
    pub(crate) fn is_test_room(&self, worker: &Path) -> bool {
        TEST_ROOMS.iter().any(|folder| worker == self.path(folder))
    }

    pub(crate) fn bench_workers(&self) -> Vec<PathBuf> {
        BENCH_WORKERS.map(|folder| self.path(folder)).to_vec()
    }

    fn examples(&self) -> Result<Vec<PathBuf>> {
        let mut folders = list(&self.path("examples"))?;
        folders.retain(|folder| is_worker(folder));
        Ok(folders)
    }

    /// The files of the end-to-end tests.
    pub(crate) fn e2e_tests(&self) -> Result<Vec<PathBuf>> {
        let mut files = list(&self.path("tests/e2e"))?;
        files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
        Ok(files)
    }

    /// A path relative to the root, for messages.
    pub(crate) fn display<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

fn is_worker(folder: &Path) -> bool {
    folder.join("wrangler.toml").is_file()
}

/// The entries of a folder, sorted.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("cannot list {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}
