//! The code blocks of the documents.
//!
//! The build script and the tests of `xtask` include this file, so it uses only the standard library.

use std::fs;
use std::io;
use std::path::Path;

/// The documents outside of `docs`.
const DOCUMENTS: [&str; 4] =
    ["README.md", "clients/rust/README.md", "clients/typescript/README.md", "room-runtime/README.md"];

/// The documents that are the documentation of a crate. `cargo test` runs their blocks of Rust without `ignore`.
pub const DOCTESTS: [&str; 1] = ["clients/rust/README.md"];

/// The beginning of the comment that names the context of a block.
const COMMENT: &str = "<!-- check:";

/// A code block of a document.
#[derive(Debug)]
pub struct Block {
    /// The path of the document from the root of the repository.
    pub document: String,
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// The text after the opening fence: the language, perhaps with attributes.
    pub info: String,
    /// The name in the comment above the block.
    pub context: Option<String>,
    /// The code, without the indentation of the fence.
    pub code: Vec<String>,
}

/// How a block is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Compiled in the test `rust`.
    Rust,
    /// Compiled and run as a documentation test of its crate.
    Doctest,
    /// Read by the compiler of TypeScript.
    TypeScript,
    /// The same, with JSX.
    Tsx,
    Toml,
    Json,
    /// Each program is a known one.
    Shell,
    /// Not code.
    Nothing,
}

impl Block {
    /// The place of the block, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }

    /// Chooses the check by the language. The error says what to write.
    pub fn check(&self) -> Result<Check, String> {
        let (language, attributes) = self.info.split_once(',').unwrap_or((&self.info, ""));
        let is_doctest = language == "rust" && DOCTESTS.contains(&&*self.document);
        if !attributes.is_empty() && !is_doctest {
            return Err(format!("write ```{language} without `,{attributes}`: the block is checked by a test"));
        }
        let check = match language {
            "rust" if is_doctest && !attributes.split(',').any(|attribute| attribute == "ignore") => Check::Doctest,
            "rust" => Check::Rust,
            "ts" | "js" => Check::TypeScript,
            "tsx" => Check::Tsx,
            "toml" => Check::Toml,
            "json" => Check::Json,
            "sh" => Check::Shell,
            "text" | "mermaid" => Check::Nothing,
            "" => return Err("the block has no language; `text` is for what is not code".to_owned()),
            other => {
                return Err(format!(
                    "unknown language `{other}`; the known ones are rust, ts, tsx, js, toml, json, sh, text and mermaid"
                ));
            }
        };
        if self.context.is_some() && context_extension(check).is_none() {
            return Err(format!("a block of `{language}` has no context: remove the comment above it"));
        }
        Ok(check)
    }
}

/// The ending of the files with the contexts of a kind of block.
pub const fn context_extension(check: Check) -> Option<&'static str> {
    match check {
        Check::Rust => Some("rs"),
        Check::TypeScript => Some("ts"),
        Check::Tsx => Some("tsx"),
        _ => None,
    }
}

/// Returns the path and the text of each document, sorted.
pub fn documents(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut paths = DOCUMENTS.map(str::to_owned).to_vec();
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| fs::read_to_string(root.join(&path)).map(|text| (path, text))).collect()
}

/// Returns the code blocks of a document, and what is wrong with its fences and comments.
pub fn blocks(document: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut problems) = (Vec::new(), Vec::new());
    let mut comment: Option<(usize, String)> = None;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let Some((indentation, fence, info)) = opening_fence(line) else {
            if line.trim().is_empty() {
                continue;
            }
            if let Some((number, name)) = comment.take() {
                problems.push(format!("{document}:{number}: no code block follows the comment `check: {name}`"));
            }
            comment = named_context(line).map(|name| (number, name.to_owned()));
            continue;
        };
        let mut block = Block {
            document: document.to_owned(),
            line: number,
            info: info.to_owned(),
            context: comment.take().map(|(_, name)| name),
            code: Vec::new(),
        };
        let is_closed = lines.any(|(_, line)| {
            let is_end = closes(fence, line);
            if !is_end {
                let of_fence = line.chars().take(indentation).take_while(|c| *c == ' ').count();
                block.code.push(line[of_fence..].to_owned());
            }
            is_end
        });
        if !is_closed {
            problems.push(format!("{document}:{number}: the code block is not closed"));
        }
        blocks.push(block);
    }
    if let Some((number, name)) = comment {
        problems.push(format!("{document}:{number}: no code block follows the comment `check: {name}`"));
    }
    (blocks, problems)
}

/// The indentation, the characters and the text of an opening fence.
fn opening_fence(line: &str) -> Option<(usize, &str, &str)> {
    let content = line.trim_start();
    let mark = content.chars().next().filter(|mark| ['`', '~'].contains(mark))?;
    let info = content.trim_start_matches(mark);
    let fence = &content[..content.len() - info.len()];
    // Code within a line can begin with three backticks too.
    (fence.len() >= 3 && !info.contains('`')).then(|| (line.len() - content.len(), fence, info.trim()))
}

fn closes(fence: &str, line: &str) -> bool {
    let line = line.trim();
    line.starts_with(fence) && line.trim_start_matches(&fence[..1]).is_empty()
}

fn named_context(line: &str) -> Option<&str> {
    line.trim().strip_prefix(COMMENT)?.strip_suffix("-->").map(str::trim)
}
