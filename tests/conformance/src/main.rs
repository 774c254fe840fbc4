//! `cargo run -p conformance -- --on memory|workerd|both [--seeds N] [FILTER]`: runs the cases whose name contains FILTER.

#![forbid(unsafe_code)]

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use conformance::{harness::Platform, memory, parity, run};
use lexopt::{Arg, Parser, ValueExt};

const USAGE: &str = "usage: conformance [--on memory|workerd|both] [--seeds N] [FILTER]

  --on       where the cases run (both)
  --seeds N  in memory, also in N other orders of what may happen in any (0)
  FILTER     only cases whose name contains this";

struct Args {
    platforms: Vec<Platform>,
    seeds: u64,
    filter: String,
}

fn parse() -> Result<Option<Args>> {
    let mut args = Args { platforms: vec![Platform::Memory, Platform::Workerd], seeds: 0, filter: String::new() };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("on") => {
                args.platforms = match &*parser.value()?.string()? {
                    "memory" => vec![Platform::Memory],
                    "workerd" => vec![Platform::Workerd],
                    "both" => vec![Platform::Memory, Platform::Workerd],
                    other => bail!("there is no platform `{other}`\n\n{USAGE}"),
                }
            }
            Arg::Long("seeds") => args.seeds = parser.value()?.parse()?,
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(filter) => args.filter = filter.string()?,
            other => bail!("{}\n\n{USAGE}", other.unexpected()),
        }
    }
    Ok(Some(args))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Some(args) = parse()? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    memory::quiet_panics();
    let parity = parity::read()?;
    let is_whole = args.filter.is_empty() && args.platforms.len() == 2;
    let mut tallies = Vec::new();
    for platform in args.platforms {
        let started = Instant::now();
        let tally = match platform {
            Platform::Memory => run::memory(&args.filter, args.seeds),
            Platform::Workerd => run::workerd(&args.filter).await?,
        };
        tallies.push((platform, tally, started.elapsed()));
    }
    println!();
    for (platform, tally, took) in &tallies {
        let run::Tally { passed, failed, not_here, passed_alone, .. } = tally;
        let (name, seconds) = (platform.name(), took.as_secs_f64());
        println!("{name:<8} {passed} passed, {failed} failed, {not_here} not for it, in {seconds:.1} s");
        for case in passed_alone {
            println!("{name:<8} `{case}` failed beside others and passed alone");
        }
    }
    if is_whole {
        parity
            .ran(|platform, name| tallies.iter().any(|(on, tally, _)| *on == platform && tally.names.contains(name)))?;
        println!("{:<8} {} rows, {} cases, all ran", "parity", parity.rows.len(), parity.cases().len());
    }
    let failed = tallies.iter().any(|(_, tally, _)| tally.failed > 0);
    let none = tallies.iter().all(|(_, tally, _)| tally.passed + tally.failed + tally.not_here == 0);
    if none {
        bail!("no case has a name that contains `{}`", args.filter);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
