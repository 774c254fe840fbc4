//! `cargo xtask book`: builds the book of the documents.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::repo::Repo;

/// Builds the book, checks its links and prints the path of its first page.
pub(crate) fn run(repo: &Repo, open: bool) -> Result<()> {
    let output = repo.target().join("book");
    // mdBook takes long to compile, so this program does not depend on it.
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "book", "--"]).arg(&output).current_dir(repo.root());
    process::run(&mut cargo)?;
    if !open {
        return Ok(());
    }
    let opener = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    let status = Command::new(opener).arg(output.join("index.html")).status();
    let status = status.with_context(|| format!("cannot run `{opener}`: open the printed path in a browser"))?;
    // The explorer of Windows never reports success.
    if !status.success() && opener != "explorer" {
        bail!("`{opener}` failed ({status}): open the printed path in a browser");
    }
    Ok(())
}
