//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser, ValueExt};

pub(crate) const USAGE: &str = "\
Usage: cargo xtask torture [OPTIONS] [PART]...

Attacks rooms on a real workerd, and compares all that happened with a model.

Parts (default: all):
  faults    kills, crashes, lost connections, failing storage and a stepping clock, under load
  deploys   two releases whose schemas differ, in turn over the same storage
  load      one large room and many small ones; the memory has to stay flat
  hostile   what no client sends: broken frames, floods, forged requests

Options:
  --short       a minute or two, as `cargo xtask test` runs it (default: the long version, about an hour)
  --seed N      the choices of the run (default: another in each run, which is printed)
  --report DIR  writes torture.json and the plots into DIR; `docs` is where the repository keeps them
  --help        this text";

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Faults,
    Deploys,
    Load,
    Hostile,
}

impl Part {
    pub(crate) const ALL: [Part; 4] = [Part::Faults, Part::Deploys, Part::Load, Part::Hostile];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Faults => "faults",
            Part::Deploys => "deploys",
            Part::Load => "load",
            Part::Hostile => "hostile",
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    pub(crate) short: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) help: bool,
}

pub(crate) fn parse(mut args: Parser) -> Result<Options> {
    let mut options = Options { parts: Vec::new(), short: false, seed: None, report: None, help: false };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => options.help = true,
            Arg::Long("short") => options.short = true,
            Arg::Long("seed") => options.seed = Some(args.value()?.parse()?),
            Arg::Long("report") => options.report = Some(args.value()?.into()),
            Arg::Value(name) => {
                let name = name.string()?;
                let Some(part) = Part::ALL.into_iter().find(|part| part.name() == name) else {
                    bail!("there is no part `{name}`; the parts are: {}", Part::ALL.map(Part::name).join(", "));
                };
                options.parts.push(part);
            }
            arg => return Err(arg.unexpected().into()),
        }
    }
    if options.parts.is_empty() {
        options.parts.extend(Part::ALL);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_parts_are_understood() {
        let all = Options { parts: Part::ALL.to_vec(), short: false, seed: None, report: None, help: false };
        assert_eq!(parsed(""), Ok(all));
        let some = Options {
            parts: vec![Part::Load, Part::Faults],
            short: true,
            seed: Some(7),
            report: Some("docs".into()),
            help: false,
        };
        assert_eq!(parsed("load --short --seed 7 --report docs faults"), Ok(some));
        assert!(parsed("--help").is_ok_and(|options| options.help));
    }

    #[test]
    fn an_error_names_the_mistake() {
        for (line, mistake) in [
            ("chaos", "no part `chaos`; the parts are: faults, deploys, load, hostile"),
            ("--sort", "--sort"),
            ("--seed x", "x"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(mistake), "{message}");
        }
    }
}
