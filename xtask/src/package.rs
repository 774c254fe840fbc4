//! The two crates as they are published: packaged, built by Cargo from their archives, and tested where nothing else of this
//! repository is at hand. The crate of the package's README depends on them, as a user's would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::{process, readme, tools};

/// What is published. The first is a dependency of the second.
const PACKAGES: [&str; 2] = ["room-macros", "room-runtime"];

/// What each archive has besides its sources. The licences lie in the root, and links lead there.
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// What a registry shows of a package. Cargo leaves a key out if its value is missing, and warns at most.
const SHOWN: [&str; 7] = ["categories", "description", "keywords", "license", "readme", "repository", "rust-version"];

/// As in `package.metadata.docs.rs` of room-runtime.
const DOCUMENTED: [Option<&str>; 2] = [None, Some(tools::WASM)];

/// The repository in the manifests until there is one.
const NO_REPOSITORY: &str = "://forge.invalid/";

pub(crate) fn check(repo: &Repo) -> Result<()> {
    // Cargo builds each from its archive. For room-runtime it may take a room-macros of the same version that it unpacked in
    // an earlier run, so a workspace of both follows.
    let mut package = cargo(repo, repo.root());
    package.args(["package", "--allow-dirty"]).args(PACKAGES.map(|name| format!("--package={name}")));
    process::run(&mut package)?;

    let folder = unpack(repo)?;
    for name in PACKAGES {
        check_contents(repo, &folder.join(name)).with_context(|| format!("the package {name} is not complete"))?;
    }
    write_workspace(repo, &folder)?;

    tools::install_target(repo)?;
    // Each test is there and compiles. The engine's own take long and read no files: the step `native` runs them.
    let test = ["test", "--features", "room-runtime/sqlite"];
    process::run(cargo(repo, &folder).args(test).args(["--workspace", "--no-run"]))?;
    process::run(cargo(repo, &folder).args(test).args(["--package", "room-macros", "--package", "counter"]))?;
    process::run(cargo(repo, &folder).args(test).args(["--package", "room-runtime", "--test", "kit"]))?;
    process::run(cargo(repo, &folder).args(["check", "--package", "counter", "--target", tools::WASM]))?;
    for target in DOCUMENTED {
        let mut doc = cargo(repo, &folder);
        doc.args(["doc", "--no-deps", "--features", "room-runtime/sqlite"]);
        doc.args(PACKAGES.map(|name| format!("--package={name}")));
        doc.args(target.map(|target| format!("--target={target}"))).env("RUSTDOCFLAGS", "-D warnings");
        process::run(&mut doc)?;
    }
    Ok(())
}

/// Unpacks the archives into a folder of each package's name.
fn unpack(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.target().join("published");
    // What an earlier package had must not stand in for what this one lacks.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?,
    }
    for name in PACKAGES {
        let versioned = format!("{name}-{}", version(repo, name)?);
        let archive = repo.target().join("package").join(format!("{versioned}.crate"));
        // `m`: files as new as they are. In the archive each has the same old date, by which Cargo would take what it built
        // from an earlier archive for up to date.
        process::run(Command::new("tar").arg("-xmzf").arg(&archive).arg("-C").arg(&folder))?;
        fs::rename(folder.join(&versioned), folder.join(name))
            .with_context(|| format!("{} does not contain {versioned}", archive.display()))?;
    }
    Ok(folder)
}

fn check_contents(repo: &Repo, package: &Path) -> Result<()> {
    let manifest = read(&package.join("Cargo.toml"))?;
    for key in SHOWN {
        if value(&manifest, key).is_none() {
            bail!("its Cargo.toml has no `{key}`");
        }
    }
    if value(&manifest, "repository").is_some_and(|url| url.contains(NO_REPOSITORY)) {
        tools::say("the workspace's `repository` is a placeholder: fill it in before the first release");
    }
    for license in LICENSES {
        if read(&package.join(license))? != read(&repo.path(license))? {
            bail!("its {license} differs from that of the repository (was the link checked out as a file?)");
        }
    }
    read(&package.join("README.md")).map(drop)
}

/// Writes a workspace of the packages and the crate that the README of room-runtime shows. Its `patch` puts the packages in
/// the place of what a registry has.
fn write_workspace(repo: &Repo, folder: &Path) -> Result<()> {
    let readme = read(&folder.join("room-runtime/README.md"))?;
    let manifest = read(&folder.join("room-runtime/Cargo.toml"))?;
    let shown = readme::file(&readme, "Cargo.toml", "toml")?;
    let dependency = format!("room-runtime = \"{}\"\n", version(repo, "room-runtime")?);
    if !shown.contains(&dependency) {
        bail!("the README of room-runtime does not show the dependency {dependency}");
    }
    let rust = value(&manifest, "rust-version").unwrap_or_default().trim_matches('"');
    if !readme.contains(&format!("Rust {rust} or newer")) {
        bail!("the README of room-runtime does not say `Rust {rust} or newer`");
    }

    let members = [&PACKAGES[..], &["counter"]].concat();
    let patches: String = PACKAGES.map(|name| format!("{name} = {{ path = \"{name}\" }}\n")).concat();
    let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n\n[patch.crates-io]\n{patches}");
    let package = "[package]\nname = \"counter\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
    fs::create_dir_all(folder.join("counter/src")).context("cannot create the README's crate")?;
    write(&folder.join("Cargo.toml"), &workspace)?;
    write(&folder.join("counter/Cargo.toml"), &format!("{package}{shown}"))?;
    write(&folder.join("counter/src/lib.rs"), readme::file(&readme, "src/lib.rs", "rust")?)?;
    // The versions that everything else here is tested with; Cargo drops what nobody needs.
    fs::copy(repo.path("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    Ok(())
}

/// The value of a key of `[package]`, in a manifest as Cargo writes it into an archive.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let (_, package) = manifest.split_once("[package]\n")?;
    let package = package.split("\n[").next()?;
    package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
}

fn version(repo: &Repo, package: &str) -> Result<String> {
    tools::locked_version(&repo.path("Cargo.lock"), package)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Cargo in a folder. All builds share a target directory, so that dependencies are compiled once.
fn cargo(repo: &Repo, folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", repo.target());
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_that_of_the_package() {
        let manifest =
            "# name = \"no\"\n[package]\nname = \"a\"\nkeywords = [\n    \"b\",\n]\n\n[lib]\nlicense = \"MIT\"\n";
        assert_eq!(value(manifest, "name"), Some("\"a\""));
        assert_eq!(value(manifest, "keywords"), Some("["));
        assert_eq!(value(manifest, "license"), None);
        assert_eq!(value("[lib]\nname = \"a\"\n", "name"), None);
    }
}
