//! The checks of the blocks that are neither Rust nor TypeScript.

use crate::blocks::{Block, Check};

/// The programs that a block of `sh` may run.
const PROGRAMS: [&str; 11] = ["cargo", "cd", "cp", "curl", "git", "mkdir", "node", "npm", "npx", "rustup", "wrangler"];

/// Returns what is wrong with a block, beginning with the document and the line.
pub fn problems(block: &Block) -> Vec<String> {
    let check = match block.check() {
        Ok(check) => check,
        Err(error) => return vec![format!("{}: {error}", block.place())],
    };
    let code = block.code.join("\n");
    let problem = |line: usize, error: String| format!("{}:{}: {error}", block.document, block.line + line);
    match check {
        Check::Json => match serde_json::from_str::<serde_json::Value>(&code) {
            Ok(_) => Vec::new(),
            Err(error) => vec![problem(error.line(), format!("the block is not JSON: {error}"))],
        },
        Check::Toml => match code.parse::<toml::Table>() {
            Ok(_) => Vec::new(),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let line = code[..start].matches('\n').count() + 1;
                vec![problem(line, format!("the block is not TOML: {}", error.message()))]
            }
        },
        Check::Shell => {
            let unknown = |(line, command): (usize, String)| {
                let program = program(&command)?;
                let is_known = PROGRAMS.contains(&program) || program.starts_with("./") || program.starts_with(".ci/");
                let known = PROGRAMS.join(", ");
                (!is_known).then(|| {
                    problem(line, format!("`{program}` is not among the programs of a block of `sh`: {known}"))
                })
            };
            commands(&block.code).into_iter().filter_map(unknown).collect()
        }
        Check::Rust | Check::Doctest | Check::TypeScript | Check::Tsx | Check::Nothing => Vec::new(),
    }
}

/// The commands of a block of `sh` with their lines in the block, from 1.
pub fn commands(code: &[String]) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    let mut begun: Option<(usize, String)> = None;
    for (index, line) in code.iter().enumerate() {
        let line = without_comment(line);
        let (number, before) = begun.take().unwrap_or((index + 1, String::new()));
        let line = before + line.trim_start();
        if let Some(line) = line.strip_suffix('\\') {
            begun = Some((number, line.to_owned()));
            continue;
        }
        let parts = line.split("&&").flat_map(|part| part.split(['|', ';'])).map(str::trim);
        commands.extend(parts.filter(|part| !part.is_empty()).map(|part| (number, part.to_owned())));
    }
    commands
}

fn without_comment(line: &str) -> &str {
    let start = line.match_indices('#').find(|(at, _)| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
    start.map_or(line, |(at, _)| &line[..at]).trim_end()
}

/// The program of a command, after the variables that are set for it.
fn program(command: &str) -> Option<&str> {
    command.split_whitespace().find(|word| {
        let name = word.split_once('=').map(|(name, _)| name);
        !name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::blocks;

    fn problems_of(text: &str) -> Vec<String> {
        let (blocks, mut found) = blocks("docs/a.md", text);
        found.extend(blocks.iter().flat_map(problems));
        found
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        for (text, expected) in [
            ("x\n```\ny\n```\n", "docs/a.md:2: the block has no language"),
            ("```haskell\n```\n", "docs/a.md:1: unknown language `haskell`; the known ones are rust, ts"),
            ("```rust,ignore\n```\n", "docs/a.md:1: write ```rust without `,ignore`"),
            ("```json\n[1,\n2,]\n```\n", "docs/a.md:3: the block is not JSON: trailing comma"),
            ("```toml\na = 1\nb = \n```\n", "docs/a.md:3: the block is not TOML"),
            ("```sh\nA=1 cargo test # x\ncargo test && sudo rm\n```\n", "docs/a.md:3: `sudo` is not among"),
            ("<!-- check: a -->\n```json\n1\n```\n", "docs/a.md:2: a block of `json` has no context"),
            ("<!-- check: a -->\ntext\n```json\n1\n```\n", "docs/a.md:1: no code block follows the comment `check: a`"),
            ("```rust\n", "docs/a.md:1: the code block is not closed"),
        ] {
            let found = problems_of(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn correct_blocks_have_no_problems() {
        let text = "- a\n\n  ```json\n  {\"a\": 1}\n  ```\n~~~~toml\n[a]\nb = '```'\n~~~~\n```sh\n# a comment\n\
                    cargo run -- --on memory \\\n  --seeds 100\nA_B=1 npx wrangler dev\n```\n```text\nfree\n```\n";
        assert_eq!(problems_of(text), [""; 0]);
    }

    #[test]
    fn only_a_documentation_of_a_crate_has_attributes() {
        let check = |document: &str, info: &str| {
            let (blocks, _) = blocks(document, &format!("```{info}\n```\n"));
            blocks[0].check()
        };
        assert_eq!(check("clients/rust/README.md", "rust,no_run"), Ok(Check::Doctest));
        assert_eq!(check("clients/rust/README.md", "rust"), Ok(Check::Doctest));
        assert_eq!(check("clients/rust/README.md", "rust,ignore"), Ok(Check::Rust));
        assert!(check("README.md", "rust,no_run").is_err());
        assert_eq!(check("README.md", "rust"), Ok(Check::Rust));
    }
}
