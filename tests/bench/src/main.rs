//! Measures the cost of a message: the same room written four ways, on one workerd. See [`cli::USAGE`] and
//! `docs/benchmarks.md`.

#![forbid(unsafe_code)]

mod cli;
mod compile;
mod config;
mod engine;
mod files;
mod findings;
mod http;
mod machine;
mod meter;
mod output;
mod peer;
mod plot;
mod protocol;
mod rebuild;
mod report;
mod session;
mod sizes;
mod stats;
mod table;
mod targets;
mod usage;
mod variants;
mod workerd;
mod workloads;

use std::process::ExitCode;

use anyhow::{Result, bail};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::{Command, Options},
    machine::Machine,
    output::Run,
    session::Session,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    match cli::parse(std::env::args_os().skip(1))? {
        Command::Help => println!("{}", cli::USAGE),
        Command::Compile(options) => compile::run(options)?,
        // An interrupt drops the unfinished run, together with workerd.
        Command::Run(options) => select! {
            outcome = measure(options) => outcome?,
            interrupted = interrupted() => return interrupted,
        },
    }
    Ok(())
}

async fn interrupted() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    bail!("interrupted")
}

async fn measure(options: Options) -> Result<()> {
    let machine = Machine::look(&mut std::process::Command::new(files::workerd()?))?;
    machine::keep_to_one_core();
    let mut session = Session::new(options)?;
    workloads::run(&mut session).await?;

    let Session { options: Options { rounds, quick, out, .. }, findings, failures, .. } = session;
    let report = report::report(&findings, &machine);
    println!("{report}");
    if let Some(folder) = out {
        output::write(&folder, &findings, &machine, &report, Run { rounds, quick })?;
    }
    match failures {
        0 => Ok(()),
        _ => bail!("{failures} measurements failed; the errors are above"),
    }
}
