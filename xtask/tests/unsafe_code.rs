//! No crate of this repository has unsafe code, except for the bindings that wasm-bindgen generates.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The crates that say `deny` in place of `forbid`, which no module could lift.
const LIFTED: [(&str, &str); 1] = [("room-runtime", "wasm-bindgen writes `unsafe` for each function of JavaScript")];

/// The modules of these crates in which generated code may be unsafe. They declare functions of JavaScript and nothing
/// else.
const BINDINGS: [&str; 2] =
    ["room-runtime/src/platform/cloudflare/mod.rs", "room-runtime/src/platform/cloudflare/namespace.rs"];

const FORBID: &str = "#![forbid(unsafe_code)]";

#[test]
fn every_crate_forbids_unsafe_code() -> Result<()> {
    let root = root()?;
    let output = Command::new("cargo")
        .current_dir(&root)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("there are no packages")?;
    let workspace = fs::read_to_string(root.join("Cargo.toml"))?;
    ensure!(workspace.contains("\nunsafe_code = \"deny\"\n"), "the lints of the workspace do not deny unsafe code");

    let (mut roots, mut without) = (0, Vec::new());
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        let manifest = fs::read_to_string(text(package, "manifest_path")?)?;
        let lints = manifest.split_once("\n[lints").map_or("", |(_, lints)| lints);
        if !lints.starts_with("]\nworkspace = true") && !lints.contains("\nunsafe_code = \"deny\"\n") {
            without.push(format!("the lints of {name}"));
        }
        for target in package["targets"].as_array().context("a package has targets")? {
            // Integration tests, examples and benchmarks have the lints of the manifest.
            let kinds = target["kind"].as_array().context("a target has kinds")?;
            if kinds.iter().any(|kind| ["bench", "example", "test"].iter().any(|other| kind == other)) {
                continue;
            }
            roots += 1;
            let source = text(target, "src_path")?;
            let forbids = fs::read_to_string(source)?.lines().any(|line| line == FORBID);
            if forbids == LIFTED.iter().any(|(lifted, _)| name == *lifted) {
                without.push(source.to_owned());
            }
        }
    }
    assert!(roots > 20, "the crates were not found");
    assert!(without.is_empty(), "without `{FORBID}`, or listed here with it: {without:#?}");
    Ok(())
}

#[test]
fn unsafe_code_is_allowed_for_generated_bindings_only() -> Result<()> {
    let root = root()?;
    let (mut allowing, mut written) = (Vec::new(), Vec::new());
    for (name, _) in LIFTED {
        for file in sources(&root.join(name).join("src"))? {
            let source = fs::read_to_string(&file)?;
            let file = file.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
            let code = || source.lines().filter(|line| !line.trim_start().starts_with("//"));
            let has = |line: &str, word: &str| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|other| other == word)
            };
            if code().any(|line| has(line, "unsafe")) {
                written.push(file.clone());
            }
            allowing.extend(code().filter(|line| has(line, "unsafe_code")).map(|_| file.clone()));
        }
    }
    allowing.sort();
    assert_eq!(allowing, BINDINGS, "each allows it for one module");
    assert!(written.is_empty(), "these files have the word `unsafe`: {written:#?}");
    Ok(())
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value[key].as_str().with_context(|| format!("there is no {key}"))
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn root() -> Result<PathBuf> {
    // Cargo sets the variable at run time, so that a checkout that was moved is still found.
    let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    Ok(own.parent().context("xtask lies in the workspace")?.to_owned())
}
