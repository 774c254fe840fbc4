//! The command line.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail};
use lexopt::{Arg, Parser, ValueExt};

use crate::{
    compile,
    variants::{Variant, Worker},
    workloads::Workload,
};

pub(crate) const USAGE: &str = "\
Usage: cargo run --release -p bench -- [OPTIONS]

Measures what a message costs in the same room, written four ways. `cargo xtask bench` builds
the rooms and then runs this.

  --rounds N        how often everything is measured (default: 9)
  --quick           almost nothing of everything: whether it works, not what it costs
  --only WORKLOAD   just the workloads whose name begins so, repeatable
  --variants LIST   just these, separated by commas: bare, partyserver, plain, ours
  --out FOLDER      write results.json, benchmarks.md and benchmarks.svg there

  --compile         in place of all that, what compiling rooms costs (default: 5 rounds); with `--out`
                    it writes compile.json and its part of benchmarks.md";

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Run(Options),
    Compile(compile::Options),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// The variants of the list whose worker is measured.
    pub(crate) fn variants(&self, variants: &[Variant]) -> Vec<Variant> {
        variants.iter().copied().filter(|variant| self.workers.contains(&variant.worker())).collect()
    }
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut args = Parser::from_args(args);
    let (mut rounds, mut quick, mut only, mut out) = (None, false, Vec::new(), None);
    let mut compile = false;
    let mut workers = Worker::ALL.to_vec();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("rounds") => rounds = Some(args.value()?.parse()?),
            Arg::Long("quick") => quick = true,
            Arg::Long("only") => only.push(args.value()?.string()?),
            Arg::Long("variants") => {
                let list = args.value()?.string()?;
                let chosen = list.split(',').map(Worker::parse).collect::<Result<Vec<_>>>()?;
                workers.retain(|worker| chosen.contains(worker));
            }
            Arg::Long("compile") => compile = true,
            Arg::Long("out") => out = Some(args.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let rounds = rounds.unwrap_or(match (quick, compile) {
        (true, _) => 1,
        (_, true) => 5,
        _ => 9,
    });
    if rounds == 0 {
        bail!("`--rounds` takes a number from 1 on");
    }
    if compile {
        if !only.is_empty() || workers != Worker::ALL {
            bail!("`--compile` has no workloads and takes neither `--only` nor `--variants`");
        }
        return Ok(Command::Compile(compile::Options { rounds, quick, out }));
    }
    Ok(Command::Run(Options { rounds, quick, workloads: chosen(&only)?, workers, out }))
}

/// The workloads whose name starts with one of these; all if the list is empty.
fn chosen(only: &[String]) -> Result<Vec<Workload>> {
    if let Some(unknown) = only.iter().find(|start| !Workload::ALL.iter().any(|it| it.name().starts_with(&***start))) {
        let names = Workload::ALL.map(Workload::name).join(", ");
        bail!("unknown workload `{unknown}`; there are {names}");
    }
    let is_chosen = |it: &Workload| only.is_empty() || only.iter().any(|start| it.name().starts_with(&**start));
    Ok(Workload::ALL.into_iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        match parse(line.split_whitespace().map(OsString::from)) {
            Ok(Command::Run(options)) => Ok(options),
            Ok(Command::Help) => Err("help".into()),
            Ok(Command::Compile(_)) => Err("compile".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn everything_by_default() {
        let options = options("").expect("no options");
        assert_eq!((options.rounds, options.quick, options.out), (9, false, None));
        assert_eq!(options.workloads, Workload::ALL);
        assert_eq!(options.workers, Worker::ALL);
    }

    #[test]
    fn a_choice() {
        let options = options("--rounds 3 --only broadcast-100- --only send --variants ours,bare --out docs");
        let options = options.expect("a choice");
        let names: Vec<_> = options.workloads.iter().map(|it| it.name()).collect();
        assert_eq!(names, ["broadcast-100-64", "broadcast-100-8k", "send"]);
        assert_eq!(options.workers, [Worker::Bare, Worker::Ours]);
        assert_eq!(
            options.variants(&Variant::ALL),
            [Variant::Bare, Variant::BareAgain, Variant::Ours, Variant::Batched]
        );
        assert_eq!(options.out, Some("docs".into()));
    }

    #[test]
    fn the_cost_of_compiling_is_a_separate_run() {
        let parsed = |line: &str| parse(line.split_whitespace().map(OsString::from)).expect("options");
        let compile = |rounds, quick, out| Command::Compile(compile::Options { rounds, quick, out });
        assert_eq!(parsed("--compile"), compile(5, false, None));
        assert_eq!(parsed("--quick --compile"), compile(1, true, None));
        assert_eq!(parsed("--compile --rounds 3 --out docs"), compile(3, false, Some("docs".into())));
    }

    #[test]
    fn an_error_lists_the_choices() {
        for (line, mistake) in [
            ("--only ehco", "unknown workload `ehco`; there are echo, "),
            ("--variants bare,theirs", "unknown variant `theirs`; there are bare, partyserver, plain, ours"),
            ("--rounds 0", "from 1 on"),
            ("--fast", "'--fast'"),
            ("--compile --only echo", "neither `--only` nor `--variants`"),
            ("--compile --variants ours", "neither `--only` nor `--variants`"),
        ] {
            let message = options(line).expect_err(line);
            assert!(message.contains(mistake), "{line}: {message}");
        }
        assert_eq!(options("--help"), Err("help".into()));
    }
}
