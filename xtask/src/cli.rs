//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use lexopt::{Arg, Parser, ValueExt};

use crate::test::Step;

pub(crate) const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

  new PATH
         create a crate of your own at PATH, outside of this repository too: a room, its Worker, its page and its tests
           --name NAME      its name (default: the last part of PATH)
  dev    build an example, serve it on a local workerd, rebuild when a source changes
           --example NAME   which one (default: chat)
           --port PORT      where to listen on 127.0.0.1 (default: 8787)
  test   run every test and end with a summary; goes on after a failing step
           --only STEP      just this step, repeatable: tools, native, lints, outside, editor, package, clients,
                            book, starter, wasm, conformance, e2e, torture, oldest, bench
                            (those after wasm take what the last build left, so usually: --only wasm --only e2e)
  bench  measure what a message costs, beside the same room written by hand (docs/benchmarks.md)
           --compile        in place of that, what compiling rooms costs
           --help           its own options: what is measured, how often, where the results go
  torture
         attack rooms on a real workerd with faults, load and hostile input (docs/torture.md)
           --short          for a minute or two, as `test` does
           --help           its own options: which parts, the seed, where the report goes
  build  build the workers: every example, and the rooms of the tests and of the benchmark
           --example NAME   just this example
  book   build the book of the documents into target/book, check its links, and print its path
           --open           open it in the browser
  tools  install what the other commands need and what is missing; they do so themselves

Tools are kept in target/tools and node_modules; nothing is installed elsewhere but parts of the
pinned Rust toolchain: its WebAssembly target and, for the tests, rust-analyzer and rust-src.";

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Tools,
    New { path: PathBuf, name: Option<String> },
    Build { example: Option<String> },
    Dev { example: String, port: u16 },
    Test { only: Vec<Step> },
    Bench { arguments: Vec<OsString> },
    Torture { arguments: Vec<OsString> },
    Book { open: bool },
}

/// An error in the command line. `Display` says what to type instead.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let parsed = parse_args(Parser::from_args(args));
    parsed.map_err(|error| UsageError(format!("{error}; see `cargo xtask --help`")).into())
}

fn parse_args(mut args: Parser) -> Result<Command, lexopt::Error> {
    let name = match args.next()? {
        None | Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Command::Help),
        Some(Arg::Value(name)) => name.string()?,
        Some(other) => return Err(other.unexpected()),
    };
    let mut command = match name.as_str() {
        "help" => Command::Help,
        "tools" => Command::Tools,
        "new" => return parse_new(args),
        "build" => Command::Build { example: None },
        "dev" => Command::Dev { example: "chat".into(), port: 8787 },
        "test" => Command::Test { only: Vec::new() },
        "book" => Command::Book { open: false },
        // The benchmark and the suite parse these arguments.
        "torture" => return Ok(Command::Torture { arguments: args.raw_args()?.collect() }),
        "bench" => return Ok(Command::Bench { arguments: args.raw_args()?.collect() }),
        other => return Err(format!("unknown command `{other}`").into()),
    };
    while let Some(arg) = args.next()? {
        match (&mut command, arg) {
            (_, Arg::Long("help") | Arg::Short('h')) => return Ok(Command::Help),
            (Command::Build { example }, Arg::Long("example")) => {
                *example = Some(args.value()?.string()?);
            }
            (Command::Dev { example, .. }, Arg::Long("example")) => {
                *example = args.value()?.string()?;
            }
            (Command::Dev { port, .. }, Arg::Long("port")) => {
                *port = parse_port(&args.value()?.string()?)?;
            }
            (Command::Test { only }, Arg::Long("only")) => {
                only.push(args.value()?.parse()?);
            }
            (Command::Book { open }, Arg::Long("open")) => *open = true,
            (_, arg) => return Err(arg.unexpected()),
        }
    }
    Ok(command)
}

fn parse_new(mut args: Parser) -> Result<Command, lexopt::Error> {
    let (mut path, mut name) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("name") => name = Some(args.value()?.string()?),
            Arg::Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            arg => return Err(arg.unexpected()),
        }
    }
    let path = path.ok_or("`new` takes the path of the new crate, for example `cargo xtask new ../counter`")?;
    Ok(Command::New { path, name })
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("`--port` takes a number from 1 to 65535, not `{text}`")),
    }
}

// The code blocks of the documents, without a dependency on mdBook.
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "the package `book` uses the rest")]
#[path = "../../tests/book/src/blocks.rs"]
mod blocks;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Repo;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(parsed(""), Ok(Command::Help));
        assert_eq!(parsed("dev --help"), Ok(Command::Help));
        assert_eq!(parsed("dev"), Ok(Command::Dev { example: "chat".into(), port: 8787 }));
        let counter = Command::Dev { example: "counter".into(), port: 80 };
        assert_eq!(parsed("dev --port=80 --example counter"), Ok(counter));
        let steps = Command::Test { only: vec![Step::Wasm, Step::E2e] };
        assert_eq!(parsed("test --only wasm --only e2e"), Ok(steps));
        assert_eq!(parsed("build"), Ok(Command::Build { example: None }));
        assert_eq!(parsed("tools"), Ok(Command::Tools));
        assert_eq!(parsed("book"), Ok(Command::Book { open: false }));
        assert_eq!(parsed("book --open"), Ok(Command::Book { open: true }));
        assert_eq!(parsed("new ../counter"), Ok(Command::New { path: "../counter".into(), name: None }));
        let named = Command::New { path: "/tmp/x".into(), name: Some("counter".into()) };
        assert_eq!(parsed("new --name counter /tmp/x"), Ok(named));
        assert_eq!(parsed("new --help"), Ok(Command::Help));
        let arguments = ["--only", "echo", "--help"].map(OsString::from).to_vec();
        assert_eq!(parsed("bench --only echo --help"), Ok(Command::Bench { arguments }));
        let arguments = ["--short", "faults"].map(OsString::from).to_vec();
        assert_eq!(parsed("torture --short faults"), Ok(Command::Torture { arguments }));
    }

    #[test]
    fn an_error_lists_the_accepted_values() {
        for (line, mistake) in [
            ("serve", "unknown command `serve`"),
            ("--port 80", "'--port'"),
            ("dev --prot 80", "'--prot'"),
            ("dev --port 0", "from 1 to 65535"),
            ("dev --port", "'--port'"),
            (
                "test --only unit",
                "tools, native, lints, outside, editor, package, clients, book, starter, wasm, conformance, e2e, torture, oldest, bench",
            ),
            ("tools now", "\"now\""),
            ("new", "`new` takes the path of the new crate"),
            ("new --name counter", "`new` takes the path of the new crate"),
            ("new a b", "\"b\""),
            ("new a --name", "'--name'"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(mistake), "{line}: {message}");
            assert!(message.ends_with("see `cargo xtask --help`"), "{line}: {message}");
        }
    }

    #[test]
    fn every_command_of_the_documents_is_understood() {
        let repo = Repo::find().expect("a repository");
        let mut commands = 0;
        for (document, text) in blocks::documents(repo.root()).expect("documents") {
            for block in blocks::blocks(&document, &text).0.iter().filter(|block| block.info == "sh") {
                for (index, line) in block.code.iter().enumerate() {
                    let Some((_, line)) = line.split_once("cargo xtask ") else { continue };
                    let line = line.split(" #").next().unwrap_or(line);
                    let place = format!("{document}:{}", block.line + 1 + index);
                    assert_eq!(parsed(line).err(), None, "{place}");
                    commands += 1;
                }
            }
        }
        assert!(commands > 1, "the commands were not found");
    }
}
