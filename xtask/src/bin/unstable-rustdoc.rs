//! `rustdoc` of the pinned toolchain, with its unstable options: the test `public_api` needs the output as JSON.
//!
//! `RUSTC_BOOTSTRAP` must not reach Cargo. The build scripts of many dependencies depend on this variable, so each change of
//! it would build all of them again.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let status = Command::new("rustdoc").args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run rustdoc: {error}");
            ExitCode::FAILURE
        }
    }
}
