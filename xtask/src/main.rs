//! `cargo xtask`: one command for all tasks of a developer of this repository. See [`cli::USAGE`].

#![forbid(unsafe_code)]

mod bench;
mod book;
mod build;
mod cli;
mod dev;
mod new;
mod node;
mod package;
mod process;
mod readme;
mod repo;
mod starter;
mod tail;
mod test;
mod tools;
mod torture;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;
use crate::repo::Repo;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) if error.is::<process::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<cli::UsageError>() { 2 } else { 1 })
        }
    }
}

fn run() -> Result<ExitCode> {
    let command = cli::parse(std::env::args_os().skip(1))?;
    let repo = Repo::find()?;
    process::handle_interrupts()?;
    match command {
        Command::Help => println!("{}", cli::USAGE),
        Command::Tools => tools::install_all(&repo)?,
        Command::Build { example } => build::run(&repo, example.as_deref())?,
        Command::New { path, name } => new::run(&repo, &path, name.as_deref())?,
        Command::Dev { example, port } => dev::run(&repo, &example, port)?,
        Command::Test { only } => return test::run(&repo, &only),
        Command::Book { open } => book::run(&repo, open)?,
        Command::Bench { arguments } => bench::run(&repo, &arguments)?,
        Command::Torture { arguments } => torture::run(&repo, &arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
