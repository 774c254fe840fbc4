//! Checks every code block of the documents, except those of Rust, which the test `rust` compiles.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use book::blocks::{self, Block, Check, context_extension};
use book::{code, root, typescript};

/// The folder for the files of the compiler of TypeScript.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

fn all() -> Result<(Vec<Block>, Vec<String>)> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (document, text) in blocks::documents(&root())? {
        let (blocks, found) = blocks::blocks(&document, &text);
        all.extend(blocks);
        problems.extend(found);
    }
    Ok((all, problems))
}

#[test]
fn every_block_has_a_known_language_and_is_well_formed() -> Result<()> {
    let (blocks, mut problems) = all()?;
    problems.extend(blocks.iter().flat_map(code::problems));
    assert!(blocks.len() > 60, "the blocks were not found: there are {}", blocks.len());
    for check in [Check::Rust, Check::Doctest, Check::TypeScript, Check::Tsx, Check::Toml, Check::Json, Check::Shell] {
        assert!(blocks.iter().any(|block| block.check() == Ok(check)), "there is no block of {check:?}");
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn typescript_accepts_every_block() -> Result<()> {
    let (blocks, _) = all()?;
    let problems = typescript::problems(&root(), &blocks, &Path::new(FOLDER).join("typescript"))?;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn a_mistake_in_typescript_is_named_with_its_line() -> Result<()> {
    let text = "# A\n\n```ts\nexport const a = 1;\nexport const b: string = a;\n```\n<!-- check: nobody -->\n```ts\n```\n\
                <!-- check: connected -->\n```ts\n\nroom.sned({ type: \"Typing\" });\n```\n";
    let (blocks, _) = blocks::blocks("docs/a.md", text);
    let problems = typescript::problems(&root(), &blocks, &Path::new(FOLDER).join("mistakes"))?;
    assert_eq!(problems.len(), 3, "{problems:#?}");
    let expected = [
        "docs/a.md:8: there is no context `nobody`: add tests/book/contexts/nobody.ts",
        "docs/a.md:5: error TS2322: Type 'number' is not assignable to type 'string'.",
        "docs/a.md:13: error TS",
    ];
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
    Ok(())
}

#[test]
fn every_context_is_used() -> Result<()> {
    let (blocks, _) = all()?;
    let used = blocks.iter().filter_map(|block| {
        let extension = context_extension(block.check().ok()?)?;
        Some(format!("{}.{extension}", block.context.as_ref()?))
    });
    let used: BTreeSet<_> = used.collect();
    for entry in fs::read_dir(root().join("tests/book/contexts")).context("cannot list the contexts")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(used.contains(&name), "no block uses tests/book/contexts/{name}: remove it");
    }
    Ok(())
}

#[test]
fn documentation_tests_run_the_blocks_that_are_not_compiled_here() -> Result<()> {
    for document in blocks::DOCTESTS {
        let library = root().join(document.replace("README.md", "src/lib.rs"));
        let text = fs::read_to_string(&library).with_context(|| format!("cannot read {}", library.display()))?;
        assert!(text.contains("#![doc = include_str!(\"../README.md\")]"), "{document} is no documentation of a crate");
    }
    Ok(())
}
