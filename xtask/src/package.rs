//! Tests the crates as they are published.
//!
//! They are packaged, built by Cargo from their archives, and tested without the rest of the repository. The crate in
//! the package's README depends on them, as a user's crate would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use crate::{process, readme, tools};

/// The published packages. The first is a dependency of the second.
const PACKAGES: [&str; 3] = ["room-macros", "room-runtime", "room-client"];

/// The package whose default features are for native programs only.
const NATIVE: &str = "room-client";

/// The licences that each archive must contain. They are in the root, and the packages link to them.
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// The keys that a registry shows. If a value is missing, Cargo omits the key and at most warns.
const SHOWN: [&str; 7] = ["categories", "description", "keywords", "license", "readme", "repository", "rust-version"];

/// The targets of `package.metadata.docs.rs` of room-runtime.
const DOCUMENTED: [Option<&str>; 2] = [None, Some(tools::WASM)];

/// The placeholder for the repository in the manifests.
const NO_REPOSITORY: &str = "://forge.invalid/";

pub(crate) fn check(repo: &Repo) -> Result<()> {
    // Cargo would build each package from its archive, with a room-macros of the same version that an earlier run may have
    // unpacked. The packages are built in one workspace below.
    let mut package = cargo(repo, repo.root());
    package.args(["package", "--allow-dirty", "--no-verify"]).args(PACKAGES.map(|name| format!("--package={name}")));
    process::run(&mut package)?;

    let folder = unpack(repo)?;
    for name in PACKAGES {
        check_contents(repo, &folder.join(name)).with_context(|| format!("the package {name} is not complete"))?;
    }
    write_workspace(repo, &folder)?;
    check_rust_version(repo, &folder)?;

    tools::install_target(repo)?;
    // Every test must be present and compile. The tests of the engine run in the step `native`, because they take long
    // and read no files.
    let test = ["test", "--features", "room-runtime/sqlite"];
    process::run(cargo(repo, &folder).args(test).args(["--workspace", "--no-run"]))?;
    process::run(cargo(repo, &folder).args(test).args(["--package", "room-macros", "--package", "counter"]))?;
    process::run(cargo(repo, &folder).args(test).args(["--package", "room-runtime", "--test", "kit"]))?;
    process::run(cargo(repo, &folder).args(["check", "--package", "counter", "--target", tools::WASM]))?;
    for target in DOCUMENTED {
        let mut doc = cargo(repo, &folder);
        doc.args(["doc", "--no-deps", "--features", "room-runtime/sqlite"]);
        let documented = PACKAGES.into_iter().filter(|name| target.is_none() || *name != NATIVE);
        doc.args(documented.map(|name| format!("--package={name}")));
        doc.args(target.map(|target| format!("--target={target}"))).env("RUSTDOCFLAGS", "-D warnings");
        process::run(&mut doc)?;
    }
    Ok(())
}

/// Unpacks the archives, each into a folder with the name of its package.
fn unpack(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.target().join("published");
    // The files of an earlier package must not hide a file that is missing now.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?,
    }
    for name in PACKAGES {
        let versioned = format!("{name}-{}", version(repo, name)?);
        let archive = repo.target().join("package").join(format!("{versioned}.crate"));
        // `m` sets the current time on the files. In the archives all files have the same old time, so Cargo would take
        // a build of an earlier archive for up to date.
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

/// Writes a workspace of the packages and of the crate in the README of room-runtime.
///
/// Its `patch` section replaces the packages of the registry.
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
    // The versions that the repository is tested with. Cargo drops those that the workspace does not need.
    fs::copy(repo.path("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    Ok(())
}

/// Checks that no dependency of the packages needs a newer Rust than the packages state.
///
/// The pinned toolchain is newer than the stated version, so a build does not notice such a dependency.
fn check_rust_version(repo: &Repo, folder: &Path) -> Result<()> {
    let manifest = read(&folder.join("room-runtime/Cargo.toml"))?;
    let stated = value(&manifest, "rust-version").map(|version| version.trim_matches('"')).unwrap_or_default();
    let mut metadata = cargo(repo, folder);
    let metadata = process::output(metadata.args(["metadata", "--format-version=1"]))?;
    let metadata = metadata.context("`cargo metadata` failed for the packages")?;
    let newer = newer_than(stated, &metadata);
    if !newer.is_empty() {
        bail!("the packages say that they need Rust {stated}, but their dependencies need more: {}", newer.join(", "));
    }
    Ok(())
}

/// Lists the packages in the output of `cargo metadata` that need a newer Rust than `stated`.
fn newer_than(stated: &str, metadata: &str) -> Vec<String> {
    // This cannot match inside a text of a package, where the quotes are escaped.
    let packages = metadata.split(",\"id\":\"").skip(1).filter_map(|package| {
        // The name follows the address of the registry.
        let (id, rest) = package.split_once('"')?;
        let name = id.rsplit('#').next()?;
        let (_, version) = rest.split_once("\"rust_version\":\"")?;
        let (version, _) = version.split_once('"')?;
        (numbers(version) > numbers(stated)).then(|| format!("{name} needs Rust {version}"))
    });
    packages.collect()
}

/// The numbers of a version, without zeros at the end: `1.91` is `1.91.0`.
fn numbers(version: &str) -> Vec<u32> {
    let mut numbers: Vec<_> = version.split('.').map(|number| number.parse().unwrap_or(0)).collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
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

/// Runs Cargo in a folder. All builds share one target directory, so that dependencies are compiled once.
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
        assert_eq!(value(manifest, "edition"), None);
        assert_eq!(value("[lib]\nname = \"a\"\n", "name"), None);
    }

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_named() {
        let metadata = r#"{"packages":[{"name":"a","id":"a@1","description":"\"rust_version\":\"9.9\"","rust_version":"1.91.0"},
            {"name":"b","id":"b@2","rust_version":null},{"name":"c","id":"registry+x#c@3","rust_version":"1.100"}]}"#;
        assert_eq!(newer_than("1.91", &metadata.replace("\n            ", "")), ["c@3 needs Rust 1.100"]);
        assert_eq!(newer_than("1.100.0", metadata), [""; 0]);
        assert_eq!(newer_than("1.9", metadata).len(), 2);
    }
}
