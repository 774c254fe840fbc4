//! `cargo run -p book -- OUTPUT`: builds the book into a folder and prints the path of its first page.

#![forbid(unsafe_code)]

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(output) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: book OUTPUT");
        return ExitCode::from(2);
    };
    // mdBook takes a relative path from the folder of its sources.
    let built = std::path::absolute(&output).map_err(Into::into).and_then(|output| book::build(&book::root(), &output));
    if let Err(error) = built {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    println!("{}", output.join("index.html").display());
    ExitCode::SUCCESS
}
