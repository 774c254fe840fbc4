//! Generates the crates to compile. Each has a number of rooms, which are copies of a variant's room under unique
//! names.
//!
//! Their workspace equals this repository's except for its members: the same versions, lints and profiles.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    files,
    variants::{Variant, Worker},
};

/// A crate with this many rooms of one variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crate {
    pub(crate) variant: Variant,
    pub(crate) rooms: usize,
}

impl Crate {
    /// The package's name.
    pub(crate) fn name(self) -> String {
        format!("{}-{}", self.variant, self.rooms)
    }
}

/// The generated workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    pub(crate) fn generate(folder: PathBuf, crates: &[Crate]) -> Result<Workspace> {
        let repository = files::repository();
        let ours = read(&repository.join("Cargo.toml"))?;
        save(&folder.join("Cargo.toml"), &manifest(&ours, &repository, crates)?)?;
        // The lock file pins the same versions without network access.
        save(&folder.join("Cargo.lock"), &read(&repository.join("Cargo.lock"))?)?;
        let workspace = Workspace { folder };
        for &it in crates {
            let worker = it.variant.worker();
            let root = workspace.folder.join(it.name());
            let package = read(&files::variant(worker).join("Cargo.toml"))?;
            let names = [(format!("\"bench-{worker}\""), format!("\"{}\"", it.name()))];
            save(&root.join("Cargo.toml"), &renamed(&package, &names)?)?;
            let source = read(&files::source(worker))?;
            for number in 1..=it.rooms {
                save(&root.join(format!("src/{}.rs", module(number))), &room(&source, worker, number)?)?;
            }
            save(&workspace.source(it), &worker_source(it.rooms))?;
        }
        Ok(workspace)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a crate's root source file.
    pub(crate) fn source(&self, it: Crate) -> PathBuf {
        self.folder.join(it.name()).join("src/lib.rs")
    }
}

/// This repository's manifest with other members.
fn manifest(ours: &str, repository: &Path, crates: &[Crate]) -> Result<String> {
    let (before, rest) = ours.split_once("members = [").context("the workspace has no members")?;
    let (_, after) = rest.split_once("]\n").context("the workspace's members have no end")?;
    let mut text = format!("{before}members = [\n");
    for it in crates {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "    \"{}\",", it.name());
    }
    let after = after.replace("path = \"", &format!("path = \"{}/", repository.display()));
    Ok(format!("{text}]\n{after}"))
}

fn module(number: usize) -> String {
    format!("room{number}")
}

/// Turns a variant's source into one module of several. Classes and bindings get a number. The crate's own Worker calls
/// the Worker's part of the module, because a Worker has only one entry.
fn room(source: &str, worker: Worker, number: usize) -> Result<String> {
    let class = worker.class();
    let names = [
        (class.to_owned(), format!("{class}{number}")),
        ("\"ROOM\"".to_owned(), format!("\"ROOM{number}\"")),
        ("#[event(fetch)]\nasync fn fetch(".to_owned(), "pub(crate) async fn fetch(".to_owned()),
    ];
    renamed(source, &names)
}

/// A Worker that routes requests to every room.
fn worker_source(rooms: usize) -> String {
    let (mut modules, mut routes) = (String::new(), String::new());
    for module in (1..=rooms).map(module) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(modules, "pub mod {module};");
        let _ = writeln!(routes, "        Some(\"{module}\") => {module}::fetch(request, env, ctx).await,");
    }
    format!(
        "\
{modules}
use worker::*;

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {{
    match request.path().split('/').nth(1) {{
{routes}        _ => Response::error(\"no such room\", 404),
    }}
}}
"
    )
}

/// Replaces names. A missing name is an error: the variant was changed, and the generated crate would be wrong.
fn renamed(text: &str, names: &[(String, String)]) -> Result<String> {
    let mut text = text.to_owned();
    for (from, to) in names {
        if !text.contains(from.as_str()) {
            bail!("the variant has no `{from}` to rename");
        }
        text = text.replace(from.as_str(), to);
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn save(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_a_crate_have_names_of_their_own() {
        for worker in [Worker::Ours, Worker::Plain] {
            let source = read(&files::source(worker)).expect("the variant's source");
            let class = worker.class();
            for number in [1, 10] {
                let room = room(&source, worker, number).expect("all names are there");
                assert!(room.contains(&format!("{class}{number}")), "{room}");
                assert!(room.contains(&format!("\"ROOM{number}\"")), "{room}");
                assert!(room.contains("\npub(crate) async fn fetch("), "{room}");
                assert!(!room.contains("#[event("), "{room}");
                assert_eq!(room.lines().count(), source.lines().count() - 1);
            }
        }
    }

    #[test]
    fn a_variant_that_was_changed_is_noticed() {
        let error = room("pub struct OtherRoom;", Worker::Ours, 1).expect_err("no `OurRoom`");
        assert_eq!(error.to_string(), "the variant has no `OurRoom` to rename");
    }

    #[test]
    fn the_worker_leads_to_every_room() {
        let source = worker_source(2);
        assert!(source.starts_with("pub mod room1;\npub mod room2;\n"), "{source}");
        assert!(source.contains("Some(\"room2\") => room2::fetch(request, env, ctx).await,\n"), "{source}");
    }

    #[test]
    fn the_workspace_is_ours_with_other_members() {
        let ours = "\
[workspace]
resolver = \"3\"
members = [
    \"room-runtime\",
]

[workspace.dependencies]
room-runtime = { path = \"room-runtime\", version = \"0.1.0\" }
worker = \"0.8.7\"
";
        let expected = "\
[workspace]
resolver = \"3\"
members = [
    \"ours-1\",
    \"plain-50\",
]

[workspace.dependencies]
room-runtime = { path = \"/repository/room-runtime\", version = \"0.1.0\" }
worker = \"0.8.7\"
";
        let crates = [Crate { variant: Variant::Ours, rooms: 1 }, Crate { variant: Variant::Plain, rooms: 50 }];
        assert_eq!(manifest(ours, Path::new("/repository"), &crates).expect("members"), expected);
        assert!(manifest("[package]\n", Path::new("/repository"), &crates).is_err());
    }
}
