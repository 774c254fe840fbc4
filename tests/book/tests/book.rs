//! Builds the book, and a small one with mistakes.

use std::fs;
use std::path::Path;

use anyhow::Result;
use book::root;

/// The folder for the books.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

#[test]
fn every_link_of_the_book_leads_somewhere() -> Result<()> {
    let output = Path::new(FOLDER).join("book");
    book::build(&root(), &output)?;
    for file in ["index.html", "recipes.html", "guide/introduction.html", "benchmarks.svg"] {
        assert!(output.join(file).is_file(), "the book has no {file}");
    }
    let page = fs::read_to_string(output.join("recipes.html"))?;
    assert!(page.contains(&format!("href=\"{}/blob/main/", book::REPOSITORY)), "no link leads to the forge");
    let page = fs::read_to_string(output.join("protocol.html"))?;
    assert!(
        page.contains(&format!("href=\"{}/blob/main/docs/protocol.md\"", book::REPOSITORY)),
        "no link to a drawing"
    );
    Ok(())
}

#[test]
fn a_broken_link_is_named_with_its_document_and_line() -> Result<()> {
    let root = Path::new(FOLDER).join("broken");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(root.join("docs/guide"))?;
    for folder in ["clients/rust", "clients/typescript", "room-runtime"] {
        fs::create_dir_all(root.join(folder))?;
        fs::write(root.join(folder).join("README.md"), "")?;
    }
    fs::write(root.join("README.md"), "")?;
    fs::write(root.join("docs/book.toml"), fs::read_to_string(book::root().join("docs/book.toml"))?)?;
    fs::write(root.join("docs/SUMMARY.md"), "[A](guide/a.md)\n\n- [B](b.md)\n")?;
    let text = "# A\n\n[to b](../b.md#two-words), [x](../b.md#three)\nand [y](c.md) and ![z](../z.svg)\n[r](../../README.md)\n";
    fs::write(root.join("docs/guide/a.md"), text)?;
    fs::write(root.join("docs/b.md"), "# B\n\n## Two words\n\n[a](guide/a.md#a) [m](../missing.rs)\n")?;
    fs::write(root.join("docs/c.md"), "# Not listed\n")?;
    let error = book::build(&root, &root.join("output")).expect_err("the book has mistakes").to_string();
    let lines: Vec<_> = error.lines().skip(1).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "docs/b.md:5: there is no `../missing.rs` in the repository",
            "docs/SUMMARY.md: docs/c.md is not listed",
            "docs/guide/a.md:3: ../b.md#three: the page has no such anchor",
            "docs/guide/a.md:4: ../z.svg: there is no such file in the book",
            "docs/guide/a.md:4: c.md: there is no such file in the book",
        ]
    );
    Ok(())
}
