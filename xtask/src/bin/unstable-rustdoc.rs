//! `rustdoc` of the pinned toolchain, with its unstable options: the test `public_api` needs the output as JSON.
//!
//! `RUSTC_BOOTSTRAP` must not reach Cargo. The build scripts of many dependencies depend on this variable, so each change of
//! it would build all of them again.

#![forbid(unsafe_code)]

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    // Cargo passes an output directory first. Rustdoc accepts only one, and the caller's counts.
    let mut directories = arguments.iter().enumerate().filter(|(_, argument)| *argument == "-o").map(|(at, _)| at);
    if let (Some(first), Some(_)) = (directories.next(), directories.next()) {
        arguments.drain(first..first + 2);
    }
    let status = Command::new("rustdoc").args(arguments).env("RUSTC_BOOTSTRAP", "1").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run rustdoc: {error}");
            ExitCode::FAILURE
        }
    }
}
