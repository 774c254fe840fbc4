//! Writes the blocks of Rust of the documents into files for the test `rust`.

#![forbid(unsafe_code)]

#[allow(dead_code, unreachable_pub, reason = "they are public for the library of this package")]
#[path = "src/blocks.rs"]
mod blocks;
#[allow(unreachable_pub, reason = "they are public for the library of this package")]
#[path = "src/fragments.rs"]
mod fragments;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("Cargo sets CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?);
    let root = own.ancestors().nth(2).ok_or("the package is in tests/book")?;
    let contexts = contexts(&own.join("contexts"))?;
    for watched in ["build.rs", "src/blocks.rs", "src/fragments.rs", "contexts", "../../docs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let mut modules = String::new();
    for (document, text) in blocks::documents(root)? {
        if !document.starts_with("docs/") {
            println!("cargo::rerun-if-changed=../../{document}");
        }
        let (blocks, _) = blocks::blocks(&document, &text);
        let file = out.join(&document);
        fs::create_dir_all(file.parent().unwrap_or(&out))?;
        fs::write(&file, fragments::file(&blocks.iter().collect::<Vec<_>>(), &contexts))?;
        let name = fragments::module(&document);
        modules += &format!("#[path = {file:?}]\nmod {name};\n");
    }
    fs::write(out.join("documents.rs"), modules)?;
    Ok(())
}

fn contexts(folder: &Path) -> Result<BTreeMap<String, Result<fragments::Context, String>>, Box<dyn Error>> {
    let mut contexts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            contexts.insert(name, fragments::Context::parse(&fs::read_to_string(&path)?));
        }
    }
    Ok(contexts)
}
