//! Builds the room of the README from only that code and the files that the book shows beside it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

/// The chapter with the files.
const CHAPTER: &str = "docs/guide/first-room.md";

/// The folder that contains the README's dependencies.
const CLONE: &str = "../rooms/";

/// Writes the crate of the README into the target directory, and returns the path of its manifest.
pub(crate) fn first_room(repo: &Repo) -> Result<PathBuf> {
    let readme = fs::read_to_string(repo.path("README.md")).context("cannot read README.md")?;
    let chapter = fs::read_to_string(repo.path(CHAPTER)).with_context(|| format!("cannot read {CHAPTER}"))?;
    let folder = repo.target().join("readme");
    let manifest = file(&chapter, "Cargo.toml", "toml")?;
    let root = repo.root().to_string_lossy();
    let manifest = manifest.replace(&format!("\"{CLONE}"), &format!("\"{root}/"));
    if manifest.contains(CLONE) || !manifest.contains(&*root) {
        bail!("the README's Cargo.toml does not depend on a clone in `{CLONE}`");
    }
    let code = block(&readme, "```rust\n").context("the README has no block of Rust")?;
    check_configuration(repo, file(&chapter, "wrangler.toml", "toml")?)?;
    fs::create_dir_all(folder.join("src")).with_context(|| format!("cannot create {}", folder.display()))?;
    let written = folder.join("Cargo.toml");
    // The empty workspace table keeps the crate out of the repository's workspace, which may contain the target
    // directory.
    fs::write(&written, manifest + "\n[workspace]\n").context("cannot write the README's Cargo.toml")?;
    fs::write(folder.join("src/lib.rs"), code).context("cannot write the README's lib.rs")?;
    // The versions that the repository is tested with. Cargo drops those that the crate does not need.
    fs::copy(repo.path("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    Ok(written)
}

/// Checks that the README's crate without its dependency `worker` has one error that says so.
///
/// `trybuild` cannot test this, because all its cases share their dependencies.
pub(crate) fn check_without_worker(repo: &Repo) -> Result<()> {
    let manifest = first_room(repo)?;
    let folder = repo.target().join("readme-without-worker");
    fs::create_dir_all(folder.join("src")).with_context(|| format!("cannot create {}", folder.display()))?;
    let text = fs::read_to_string(&manifest).context("cannot read the README's Cargo.toml")?;
    let lines = text.lines().filter(|line| !line.starts_with("worker = "));
    let own = folder.join("Cargo.toml");
    fs::write(&own, lines.collect::<Vec<_>>().join("\n")).context("cannot write Cargo.toml")?;
    let code = fs::read_to_string(manifest.with_file_name("src/lib.rs")).context("cannot read the README's lib.rs")?;
    let room = code.split("#[event(fetch)]").next().unwrap_or_default().replace("use worker::*;\n", "");
    fs::write(folder.join("src/lib.rs"), room).context("cannot write lib.rs")?;
    fs::copy(repo.path("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    let mut cargo = Command::new("cargo");
    cargo.args(["check", "--manifest-path"]).arg(&own).arg("--target-dir").arg(repo.target());
    let output = cargo.current_dir(repo.root()).output().context("cannot run cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let found: Vec<_> =
        errors.lines().filter(|line| line.starts_with("error") && !line.contains("could not compile")).collect();
    if found != ["error: a room needs the crate `worker`, under that name"] {
        bail!("a room without the crate `worker` has other errors:\n{errors}");
    }
    Ok(())
}

/// Checks that the README's configuration equals that of the example, which other steps build and serve.
fn check_configuration(repo: &Repo, shown: &str) -> Result<()> {
    let example = repo.path("examples/counter/wrangler.toml");
    let own = fs::read_to_string(&example).with_context(|| format!("cannot read {}", example.display()))?;
    let (shown, own) = (settings(shown), settings(&own));
    if shown != own {
        bail!("the README's wrangler.toml differs from that of examples/counter:\n{shown:#?}\n{own:#?}");
    }
    Ok(())
}

/// The lines that matter to a user of the library, without comments and without the folders that are watched here.
fn settings(configuration: &str) -> Vec<&str> {
    let lines = configuration.lines().map(|line| line.split(" #").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("watch_dir")).collect()
}

/// The code block below the line with a file's name.
pub(crate) fn file<'a>(readme: &'a str, name: &str, language: &str) -> Result<&'a str> {
    let below = readme.split_once(&format!("\n`{name}`:\n")).map(|(_, below)| below);
    below
        .and_then(|below| block(below, &format!("```{language}\n")))
        .with_context(|| format!("the README does not show a {name}"))
}

pub(crate) fn block<'a>(text: &'a str, fence: &str) -> Option<&'a str> {
    let (_, block) = text.split_once(fence)?;
    block.split_once("```").map(|(block, _)| block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_shows_the_files_of_the_first_room() {
        let chapter = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/first-room.md");
        let chapter = fs::read_to_string(chapter).expect("the chapter");
        assert!(file(&chapter, "Cargo.toml", "toml").expect("a manifest").contains(CLONE));
        assert!(file(&chapter, "wrangler.toml", "toml").expect("a configuration").contains("new_sqlite_classes"));
    }

    #[test]
    fn a_file_is_the_block_below_its_name() {
        let readme =
            "`Cargo.toml` has\n\n`Cargo.toml`:\n\n```toml\n[package]\n```\n\n`wrangler.toml`:\n\n```toml\nname\n```\n";
        assert_eq!(file(readme, "Cargo.toml", "toml").expect("a block"), "[package]\n");
        assert_eq!(file(readme, "wrangler.toml", "toml").expect("a block"), "name\n");
        assert!(file(readme, "lib.rs", "rust").is_err());
    }

    #[test]
    fn comments_and_watched_folders_are_no_settings() {
        let configuration = "# what\nname = \"a\" # the name\n\nwatch_dir = [\"src\"]\ncolor = \"#fff\"\n";
        assert_eq!(settings(configuration), ["name = \"a\"", "color = \"#fff\""]);
    }
}
