//! Builds the book of the documents in `docs`, and checks its links. The tests also check each code block of the documents.

#![forbid(unsafe_code)]

pub mod blocks;
pub mod code;
pub mod fragments;
pub mod html;
pub mod markdown;
pub mod typescript;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;

/// The address of the repository. `repository` of the workspace's Cargo.toml is the only place that has it.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The folder of the book's sources in the repository.
const SOURCES: &str = "docs";

/// The file that redirects to the first chapter.
const INDEX: &str = "index.html";

/// The page with all chapters, for printing.
const PRINT: &str = "print.html";

/// Builds the book and checks its links. The errors name the document and the line.
pub fn build(root: &Path, output: &Path) -> Result<()> {
    let sources = root.join(SOURCES);
    let mut config = Config::from_disk(sources.join("book.toml"))?;
    config.build.build_dir = output.to_owned();
    config.set("output.html.git-repository-url", REPOSITORY)?;
    let mut book = MDBook::load_with_config(&sources, config)?;
    let (mut problems, mut pages) = (Vec::new(), Vec::new());
    book.book.for_each_chapter_mut(|chapter| {
        let Some(path) = chapter.source_path.as_ref().map(|path| path.to_string_lossy().replace('\\', "/")) else {
            problems.push(format!("{SOURCES}/SUMMARY.md: `{}` has no file", chapter.name));
            return;
        };
        let document = format!("{SOURCES}/{path}");
        pages.push((document.clone(), chapter.content.clone()));
        problems.extend(markdown::link_to_forge(root, &document, &mut chapter.content, REPOSITORY));
        chapter.content = link_drawings(&document, &chapter.content);
    });
    problems.extend(missing_in_summary(root, &pages)?);
    book.build()?;
    redirect_index(output, &pages)?;
    // The configuration is no part of the book.
    fs::remove_file(output.join("book.toml")).context("cannot remove the copy of book.toml")?;
    let mut broken = html::broken_links(output)?;
    // This page repeats all others, with their mistakes.
    if broken.iter().any(|broken| broken.page != PRINT) {
        broken.retain(|broken| broken.page != PRINT);
    }
    problems.extend(broken.iter().map(|broken| describe(broken, &pages)));
    if !problems.is_empty() {
        bail!("the book has mistakes:\n  {}", problems.join("\n  "));
    }
    Ok(())
}

/// Adds a link below each drawing: the forge draws it, the book shows its text.
fn link_drawings(document: &str, text: &str) -> String {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let (blocks, _) = blocks::blocks(document, text);
    for block in blocks.iter().filter(|block| block.info == "mermaid").rev() {
        let after = (block.line + block.code.len() + 1).min(lines.len());
        lines.insert(after, format!("\n[The drawing of this text]({REPOSITORY}/blob/main/{document})\n"));
    }
    lines.join("\n") + "\n"
}

/// Each document in `docs` is a chapter, so that no link leads to a file that is not rendered.
fn missing_in_summary(root: &Path, pages: &[(String, String)]) -> Result<Vec<String>> {
    let documents = blocks::documents(root).context("cannot read the documents")?;
    let chapters = documents.iter().map(|(path, _)| path).filter(|path| path.starts_with("docs/"));
    let missing =
        chapters.filter(|path| !path.ends_with("/SUMMARY.md") && !pages.iter().any(|(page, _)| page == *path));
    Ok(missing.map(|path| format!("{SOURCES}/SUMMARY.md: {path} is not listed")).collect())
}

/// mdBook writes a copy of the first chapter to the root, where its relative links would lead elsewhere.
fn redirect_index(output: &Path, pages: &[(String, String)]) -> Result<()> {
    let (first, _) = pages.first().context("docs/SUMMARY.md lists no chapter")?;
    let page = page_of(first);
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Introduction</title>\n\
         <meta http-equiv=\"refresh\" content=\"0; url={page}\">\n<a href=\"{page}\">Introduction</a>\n</html>\n"
    );
    fs::write(output.join(INDEX), text).context("cannot write index.html")
}

/// The page of a document, as a path in the book.
fn page_of(document: &str) -> String {
    let path = document.strip_prefix("docs/").unwrap_or(document);
    path.strip_suffix(".md").map_or_else(|| path.to_owned(), |name| format!("{name}.html"))
}

/// Names the document and the line of a broken link.
fn describe(broken: &html::Broken, pages: &[(String, String)]) -> String {
    let found = pages.iter().find(|(document, _)| page_of(document) == broken.page).and_then(|(document, text)| {
        let links = markdown::links(text);
        let link = links.into_iter().find(|link| rendered(&link.target) == broken.link)?;
        Some(format!("{document}:{}: {}: {}", link.line, link.target, broken.reason))
    });
    found.unwrap_or_else(|| format!("page {}: {}: {}", broken.page, broken.link, broken.reason))
}

/// The target of a link as mdBook writes it.
fn rendered(target: &str) -> String {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = path.strip_suffix(".md").map_or_else(|| path.to_owned(), |name| format!("{name}.html"));
    anchor.map_or_else(|| path.clone(), |anchor| format!("{path}#{anchor}"))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    // Cargo sets the variable at run time, so that a checkout that was moved is still found.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.ancestors().nth(2).map_or_else(|| own.clone(), Path::to_owned)
}
