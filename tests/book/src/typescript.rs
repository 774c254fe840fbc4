//! Checks the blocks of TypeScript with the compiler that the client in TypeScript is built with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::blocks::{Block, Check, context_extension};

/// The line of a context that stands for the block.
const PLACEHOLDER: &str = "// BLOCK";

/// The types of the chat, which a block of the documents writes and another one reads.
const BINDINGS: &str = "tests/book/bindings/chat.ts";

/// A file for the compiler: the block within its context.
struct File<'a> {
    block: &'a Block,
    /// The path of the context from the root of the repository.
    context: Option<String>,
    /// The lines of the context before the block.
    before: usize,
    text: String,
}

impl File<'_> {
    /// The place in the document, or in the context, of a line of the file.
    fn place(&self, line: usize) -> String {
        let Block { document, line: fence, code, .. } = self.block;
        match &self.context {
            Some(context) if line <= self.before => format!("{}: in {context}:{line}", self.block.place()),
            Some(context) if line > self.before + code.len() => {
                format!("{}: in {context}:{}", self.block.place(), line - code.len() + 1)
            }
            _ => format!("{document}:{}", fence + line - self.before),
        }
    }
}

/// Returns what the compiler says, beginning with the document and the line.
///
/// `folder` is for the files of the compiler.
pub fn problems(root: &Path, blocks: &[Block], folder: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut files = BTreeMap::new();
    for (number, block) in blocks.iter().enumerate() {
        let Ok(check @ (Check::TypeScript | Check::Tsx)) = block.check() else { continue };
        let extension = context_extension(check).context("TypeScript has contexts")?;
        match file(root, block, extension)? {
            Ok(file) => drop(files.insert(format!("block_{number}.{extension}"), file)),
            Err(problem) => problems.push(format!("{}: {problem}", block.place())),
        }
    }
    if files.is_empty() {
        return Ok(problems);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    // A page imports the types of its room from a folder beside its own.
    let (page, bindings) = (folder.join("page"), folder.join("bindings"));
    for new in [&page, &bindings] {
        fs::create_dir_all(new).with_context(|| format!("cannot create {}", new.display()))?;
    }
    let own = root.join(BINDINGS);
    fs::copy(&own, bindings.join("chat.ts")).with_context(|| format!("cannot copy {}", own.display()))?;
    for (name, file) in &files {
        fs::write(page.join(name), &file.text).with_context(|| format!("cannot write {name}"))?;
    }
    fs::write(folder.join("tsconfig.json"), configuration(root).to_string()).context("cannot write tsconfig.json")?;
    let output = compile(root, folder)?;
    for line in output.lines().filter(|line| !line.trim().is_empty()) {
        problems.push(translate(line, &files));
    }
    Ok(problems)
}

fn file<'a>(root: &Path, block: &'a Block, extension: &str) -> Result<Result<File<'a>, String>> {
    let code = block.code.join("\n");
    let Some(name) = &block.context else {
        return Ok(Ok(File { block, context: None, before: 0, text: code + "\n" }));
    };
    let context = format!("tests/book/contexts/{name}.{extension}");
    let path = root.join(&context);
    if !path.is_file() {
        return Ok(Err(format!("there is no context `{name}`: add {context}")));
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {context}"))?;
    let mut parts = text.split(PLACEHOLDER);
    let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(Err(format!("{context} needs exactly one line `{PLACEHOLDER}`")));
    };
    let before = before.trim_end_matches(' ');
    let lines = before.matches('\n').count();
    Ok(Ok(File { block, before: lines, text: format!("{before}{code}{after}"), context: Some(context) }))
}

/// The settings of a strict page. The client is that of the repository.
fn configuration(root: &Path) -> serde_json::Value {
    let client = root.join("clients/typescript");
    let source = |name: &str| json!([client.join("src").join(name)]);
    let react = |name: &str| json!([client.join("node_modules/@types/react").join(name)]);
    json!({
        "compilerOptions": {
            "target": "ES2022",
            "lib": ["ES2022", "DOM", "DOM.Iterable"],
            "types": [],
            "module": "ESNext",
            "moduleResolution": "Bundler",
            "moduleDetection": "force",
            "jsx": "react-jsx",
            "noEmit": true,
            "strict": true, "skipLibCheck": true,
            "exactOptionalPropertyTypes": true,
            "noUncheckedIndexedAccess": true,
            "allowImportingTsExtensions": true,
            "verbatimModuleSyntax": true,
            "paths": {
                "room-client": source("index.ts"),
                "room-client/msgpack": source("msgpack.ts"),
                "room-client/react": source("react.ts"),
                "react": react("index.d.ts"),
                "react/jsx-runtime": react("jsx-runtime.d.ts"),
            },
        },
        "include": ["page"],
    })
}

fn compile(root: &Path, folder: &Path) -> Result<String> {
    let packages = root.join("clients/typescript/node_modules");
    let (compiler, react) = (packages.join("typescript/bin/tsc"), packages.join("@types/react"));
    for needed in [&compiler, &react] {
        ensure!(needed.exists(), "{} is missing: `cargo xtask test --only book` installs it", needed.display());
    }
    let output = Command::new("node").arg(&compiler).arg("--project").arg(folder).args(["--pretty", "false"]).output();
    let output = output.context("cannot run `node`: install Node.js, or run `cargo xtask test --only book`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() || text.contains("error TS"),
        "the compiler of TypeScript failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Replaces the place in a file of the compiler, `block_3.ts(2,5)`, by that in the document.
fn translate(line: &str, files: &BTreeMap<String, File<'_>>) -> String {
    let parts = || {
        let (path, rest) = line.split_once('(')?;
        let (place, message) = rest.split_once("): ")?;
        let number: usize = place.split(',').next()?.parse().ok()?;
        let file = files.get(path.rsplit(['/', '\\']).next()?)?;
        Some(format!("{}: {message}", file.place(number)))
    };
    parts().unwrap_or_else(|| line.to_owned())
}
