//! Checks that the links in this repository's documents work: relative links with their anchors, and named paths.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The documents that name source files outside of links.
const GUIDES: [&str; 4] = ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "tests/README.md"];

/// The folder of the layers. A guide names a file of a layer without it.
const LAYERS: &str = "room-runtime/src/";

/// The folders that are not part of the repository, or that contain third-party files.
const SKIPPED: [&str; 6] = [".git", ".wrangler", "build", "dist", "node_modules", "target"];

/// The file that another document includes at its start. Its links are relative to that document.
const PARTS: [&str; 1] = ["tests/bench/src/introduction.md"];

#[test]
fn links_lead_to_files_and_headings() -> Result<()> {
    let repository = Repository::read()?;
    let mut broken = Vec::new();
    for (document, text) in repository.documents.iter().filter(|(document, _)| !PARTS.contains(&&***document)) {
        for link in links(text).filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let leads_to = if path.is_empty() { document.clone() } else { beside(document, path) };
            let headings = repository.documents.get(&leads_to).map(|text| headings(text)).unwrap_or_default();
            if !repository.has(&leads_to) || !(anchor.is_empty() || headings.contains(anchor)) {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn guides_name_files_that_exist() -> Result<()> {
    let repository = Repository::read()?;
    let mut missing = Vec::new();
    for guide in GUIDES {
        let text = repository.documents.get(guide).with_context(|| format!("there is no {guide}"))?;
        missing.extend(code(text).filter(|path| !repository.may_be(path)).map(|path| format!("{guide}: {path}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}

/// A promise is as good as the case that it names.
#[test]
fn the_threat_model_names_functions_that_exist() -> Result<()> {
    let repository = Repository::read()?;
    let text = repository.documents.get("SECURITY.md").context("there is no SECURITY.md")?;
    let is_name =
        |code: &&str| code.contains('_') && code.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c));
    let names: BTreeSet<_> = code(text).filter(is_name).collect();
    let is_there = |name: &str| {
        let sources = || repository.sources.iter().filter(|(file, _)| file.ends_with(".rs")).map(|(_, source)| source);
        sources().any(|source| source.contains(&format!("fn {name}<")) || source.contains(&format!("fn {name}(")))
            || repository.sources["room-macros/src/options.rs"].contains(&format!("name: \"{name}\""))
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
    assert!(names.len() > 15, "the cases were not found");
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}

/// A sentence that begins with a relative clause has no subject of its own: the reader has to guess it.
#[test]
fn documents_and_comments_begin_with_a_noun_or_a_verb() -> Result<()> {
    const RIDDLES: [&str; 6] = ["What", "Which", "Who", "Whose", "Whom", "Whether"];
    let repository = Repository::read()?;
    let mut found = Vec::new();
    for (file, text) in repository.documents.iter().chain(&repository.sources) {
        let is_document = file.ends_with(".md");
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let comment = ["///", "//!", "//", "/**", "* "].iter().find_map(|mark| line.strip_prefix(mark));
            let Some(words) = comment.or(is_document.then_some(line)) else { continue };
            let first = words.trim_start_matches([' ', '-', '*', '|', '>', '#']).split([' ', ',', '\'']).next();
            if first.is_some_and(|first| RIDDLES.contains(&first)) {
                found.push(format!("{file}:{}: {line}", number + 1));
            }
        }
    }
    assert!(repository.sources.len() > 200, "the sources were not found");
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn only_paths_are_checked_for_existence() -> Result<()> {
    let repository = Repository::read()?;
    for known in
        ["xtask/src/", "xtask/tests/documents.rs", "documents.rs", "cargo a/b.rs", "Option<u64>", "target/x.rs"]
    {
        assert!(repository.may_be(known), "{known}");
    }
    for unknown in ["xtask/src/documents.rs", "no_such.rs", "no_such.mjs", "room-runtime/no/such/"] {
        assert!(!repository.may_be(unknown), "{unknown}");
    }
    let text = "# A `b` (c)\n[x](y.md#a-b-c) `d`\n```\n[no](no) `no`\n```\n[z\n](w)\n## Two words: 1\n";
    assert_eq!(links(text).collect::<Vec<_>>(), ["y.md#a-b-c", "w"]);
    assert_eq!(code(text).collect::<Vec<_>>(), ["b", "d"]);
    assert_eq!(headings(text), ["a-b-c", "two-words-1"].map(str::to_owned).into());
    assert_eq!(beside("docs/a.md", "../tests/./b"), "tests/b");
    Ok(())
}

struct Repository {
    /// Every file and folder, as a path from the root.
    entries: BTreeSet<String>,
    /// The text of each Markdown file.
    documents: BTreeMap<String, String>,
    /// The text of each source file.
    sources: BTreeMap<String, String>,
}

impl Repository {
    fn read() -> Result<Self> {
        // Cargo sets the variable at run time, so that a checkout that was moved is still found.
        let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = own.parent().context("xtask lies in the workspace")?;
        let mut this =
            Self { entries: BTreeSet::from([String::new()]), documents: BTreeMap::new(), sources: BTreeMap::new() };
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let found =
                fs::read_dir(root.join(&folder)).with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in found {
                let entry = entry?;
                let name = entry.file_name();
                if SKIPPED.iter().any(|skipped| name == *skipped) {
                    continue;
                }
                let path = folder.join(name);
                let name = path.to_string_lossy().replace('\\', "/");
                if name.ends_with(".md") {
                    this.documents.insert(name.clone(), fs::read_to_string(entry.path())?);
                }
                if [".rs", ".js", ".mjs", ".ts"].iter().any(|ending| name.ends_with(ending))
                    && entry.file_type()?.is_file()
                {
                    this.sources.insert(name.clone(), fs::read_to_string(entry.path())?);
                }
                // Symbolic links are not followed, because they may form a cycle.
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                }
                this.entries.insert(name);
            }
        }
        Ok(this)
    }

    fn has(&self, path: &str) -> bool {
        self.entries.contains(path.trim_end_matches('/'))
    }

    /// True if code in a document is not a path into the repository, or is one that exists.
    fn may_be(&self, code: &str) -> bool {
        let is_path = code.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        match code.split_once('/') {
            Some((first, _)) if is_path && self.has(first) => self.has(code),
            Some((first, _)) if is_path && self.has(&format!("{LAYERS}{first}")) => {
                self.has(&format!("{LAYERS}{code}"))
            }
            None if is_path && [".rs", ".mjs"].iter().any(|end| code.len() > end.len() && code.ends_with(end)) => {
                self.entries.iter().any(|entry| entry.rsplit('/').next() == Some(code))
            }
            _ => true,
        }
    }
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of the links. The text of a link may contain a line break, but its target may not.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
}

/// The text between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The anchors of the headings, in the form that forges give them.
fn headings(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    });
    anchors.collect()
}

/// Resolves the path of a link in a document, from the root.
fn beside(document: &str, link: &str) -> String {
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}
