//! Makes a file of Rust from the blocks of a document. The build script includes this file.
//!
//! The file has the lines of the document: a block is at its own lines, and everything else of the document is left out. So a
//! message of the compiler names the line of the document.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;

use crate::blocks::{Block, Check};

/// The line of a context that stands for the block.
const PLACEHOLDER: &str = "// BLOCK";

/// The line of a context above the code for the line `…` of the block.
const LEFT_OUT: &str = "// …";

/// The identifier that stands for the block while the context is written as one line.
const MARKER: &str = "__block__";

/// The code around a block, each part in one line.
#[derive(Debug)]
pub struct Context {
    before: String,
    after: String,
    /// The code for the line `…` of the block.
    left_out: String,
}

impl Context {
    /// Reads a context. Its code is written without comments and line breaks, because the block keeps its lines.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines: Vec<_> = text.lines().collect();
        let left_out = lines.iter().position(|line| line.trim() == LEFT_OUT).map(|at| lines.split_off(at));
        let is_placeholder = |line: &&str| line.trim() == PLACEHOLDER;
        if lines.iter().filter(|line| is_placeholder(line)).count() != 1 {
            return Err(format!("the context needs exactly one line `{PLACEHOLDER}`"));
        }
        let lines: Vec<_> = lines.iter().map(|line| if is_placeholder(line) { MARKER } else { line }).collect();
        let code = one_line(&lines)?;
        let (before, after) = code.split_once(MARKER).ok_or("the context has lost its block")?;
        let left_out = left_out.map_or_else(|| Ok(String::new()), |lines| one_line(&lines))?;
        Ok(Self { before: before.to_owned(), after: after.to_owned(), left_out })
    }
}

/// Writes code as one line, without comments.
fn one_line(lines: &[&str]) -> Result<String, String> {
    let tokens: TokenStream = lines.join("\n").parse().map_err(|error| format!("the context is no Rust: {error}"))?;
    let code = tokens.to_string();
    if code.contains('\n') {
        return Err("a string of the context has a line break: write `\\n`".to_owned());
    }
    Ok(code)
}

/// Returns the file for the blocks of a document. A mistake in a comment becomes an error of the compiler at its line.
pub fn file(blocks: &[&Block], contexts: &BTreeMap<String, Result<Context, String>>) -> String {
    let mut lines = Vec::<String>::new();
    for block in blocks.iter().filter(|block| block.check() == Ok(Check::Rust)) {
        let (before, after, left_out) = match block.context.as_ref().map(|name| (name, contexts.get(name))) {
            None => ("", "", ""),
            Some((_, Some(Ok(context)))) => (&*context.before, &*context.after, &*context.left_out),
            Some((name, found)) => {
                let message = match found {
                    Some(Err(error)) => format!("{}: tests/book/contexts/{name}.rs: {error}", block.place()),
                    _ => format!("{}: there is no context `{name}`: add tests/book/contexts/{name}.rs", block.place()),
                };
                lines.resize(block.line - 1, String::new());
                lines.push(format!("::core::compile_error!({message:?});"));
                continue;
            }
        };
        let mut rooms = Rooms { module: module(&block.document), line: block.line, count: 0 };
        lines.resize(block.line - 1, String::new());
        lines.push(format!("mod line_{} {{ {}", block.line, rooms.rename(before)));
        let code: Vec<_> = block.code.iter().map(|line| without_ellipses(line, left_out)).collect();
        lines.extend(rooms.rename(&code.join("\n")).split('\n').take(code.len()).map(str::to_owned));
        lines.push(format!("{} }}", rooms.rename(after)));
    }
    lines.join("\n") + "\n"
}

/// The name of the module with the blocks of a document.
pub fn module(document: &str) -> String {
    document.trim_end_matches(".md").replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase()
}

/// Gives each room of a block a class and a binding of its own, because these must be unique in the crate of the test.
struct Rooms {
    module: String,
    line: usize,
    count: usize,
}

impl Rooms {
    fn rename(&mut self, code: &str) -> String {
        let (mut renamed, mut rest) = (String::new(), code);
        // The first two are in the block, the others in a context, which is written as tokens.
        while let Some((at, found)) = ["#[room]", "#[room(", "# [room]", "# [room ("]
            .into_iter()
            .filter_map(|attribute| Some((rest.find(attribute)?, attribute)))
            .min()
        {
            self.count += 1;
            let (before, after) = (&rest[..at], &rest[at + found.len()..]);
            let own = if found.ends_with('(') { after.split(")]").next().unwrap_or(after) } else { "" };
            let name = format!("{}_{}_{}", self.module, self.line, self.count);
            let names = [("class", name.clone()), ("binding", name.to_uppercase())];
            let options: Vec<_> = names
                .into_iter()
                .filter(|(option, _)| !own.contains(&format!("{option} = ")))
                .map(|(option, name)| format!("{option} = \"{name}\""))
                .collect();
            let end = match (found.ends_with('('), options.is_empty()) {
                (false, _) => ")]",
                (true, true) => "",
                (true, false) => ", ",
            };
            renamed += &format!("{before}#[room({}{end}", options.join(", "));
            rest = after;
        }
        renamed + rest
    }
}

/// Replaces what a document leaves out.
fn without_ellipses(line: &str, left_out: &str) -> String {
    if line.trim() == "…" {
        return left_out.to_owned();
    }
    line.replace("{ … }", "{ ::core::unimplemented!() }").replace("=> …,", "=> ::core::unimplemented!(),")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::blocks;

    fn of(text: &str) -> String {
        let contexts = BTreeMap::from([
            ("body".to_owned(), Context::parse("// A reason.\nfn body() {\n    // BLOCK\n    done();\n}\n")),
            ("none".to_owned(), Context::parse("fn body() {}\n")),
        ]);
        let (blocks, problems) = blocks("docs/a.md", text);
        assert!(problems.is_empty(), "{problems:?}");
        file(&blocks.iter().collect::<Vec<_>>(), &contexts)
    }

    #[test]
    fn a_block_is_at_its_own_lines() {
        let text =
            "# A\n\n<!-- check: body -->\n```rust\nlet a = 1;\n```\ntext\n```text\nx\n```\n```rust\nfn b() {}\n```\n";
        let expected = ["", "", "", "mod line_4 { fn body () {", "let a = 1;", "done () ; } }", "", "", "", ""];
        let file = of(text);
        let lines: Vec<_> = file.lines().map(str::trim).collect();
        assert_eq!(lines[..10], expected);
        assert_eq!(lines[10..], ["mod line_11 {", "fn b() {}", "}"]);
    }

    #[test]
    fn each_room_has_a_class_and_a_binding_of_its_own() {
        let mut rooms = Rooms { module: "a".to_owned(), line: 7, count: 0 };
        let named = "#[room(class = \"B\", max_peers = 1, binding = \"B\")]";
        let code = format!("#[room]\nmod a {{}}\n#[room(max_peers = 1)]\nmod b {{}}\n{named}\nmod c {{}}\n");
        let expected = format!(
            "#[room(class = \"a_7_1\", binding = \"A_7_1\")]\nmod a {{}}\n\
             #[room(class = \"a_7_2\", binding = \"A_7_2\", max_peers = 1)]\nmod b {{}}\n{named}\nmod c {{}}\n"
        );
        assert_eq!(rooms.rename(&code), expected);
        assert_eq!(rooms.rename("# [room] mod d"), "#[room(class = \"a_7_4\", binding = \"A_7_4\")] mod d");
    }

    #[test]
    fn an_unknown_context_is_an_error_of_the_compiler() {
        let file = of("<!-- check: nobody -->\n```rust\n```\n<!-- check: none -->\n```rust\n```\n");
        let lines: Vec<_> = file.lines().collect();
        assert!(lines[1].contains("compile_error!(\"docs/a.md:2: there is no context `nobody`"), "{file}");
        assert!(lines[4].contains("contexts/none.rs: the context needs exactly one line `// BLOCK`"), "{file}");
    }

    #[test]
    fn an_ellipsis_stands_for_lines_a_body_or_a_value() {
        assert_eq!(without_ellipses("    …", "fn a() {}"), "fn a() {}");
        assert_eq!(without_ellipses("fn a() -> u8 { … }", ""), "fn a() -> u8 { ::core::unimplemented!() }");
        assert_eq!(without_ellipses("Ok(a) => …,", ""), "Ok(a) => ::core::unimplemented!(),");
        assert_eq!(without_ellipses("say(\"a…\")", ""), "say(\"a…\")");
    }
}
