//! Faults, load and hostile input for rooms on a real workerd. See [`cli::USAGE`].

#![forbid(unsafe_code)]

mod cli;
mod deploys;
mod faults;
mod host;
mod hostile;
mod load;
mod model;
mod players;
mod plot;
mod raw;
mod stats;
mod worker;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::cli::{Options, Part};

/// The most by which the memory may grow in a minute, as a part of its mean.
const FLAT: f64 = 0.01;

#[tokio::main]
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
    let options = cli::parse(lexopt::Parser::from_env())?;
    if options.help {
        println!("{}", cli::USAGE);
        return Ok(());
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let mut results = Map::new();
    for part in &options.parts {
        eprintln!("==> {} (--seed {seed})", part.name());
        let failed = || format!("{} failed; `--seed {seed}` repeats its choices", part.name());
        let result = run_part(*part, seed, &options).await.with_context(failed)?;
        println!("{}", serde_json::to_string_pretty(&result)?);
        results.insert(part.name().to_owned(), result);
    }
    if let Some(folder) = &options.report {
        let path = folder.join("torture.json");
        fs::write(&path, serde_json::to_string_pretty(&Value::Object(results))? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn run_part(part: Part, seed: u64, options: &Options) -> Result<Value> {
    let short = options.short;
    Ok(match part {
        Part::Faults => {
            let extent = if short { faults::Extent::short(seed) } else { faults::Extent::long(seed) };
            serde_json::to_value(faults::run(extent).await?)?
        }
        Part::Deploys => serde_json::to_value(deploys::run(seed, if short { 4 } else { 40 }).await?)?,
        Part::Load => {
            let extent = if short { load::Extent::short(seed) } else { load::Extent::long(seed) };
            let report = load::run(extent).await?;
            if let Some(folder) = &options.report {
                let title = format!("Memory with {} sockets in {} rooms", report.sockets, extent.rooms + 1);
                let path = folder.join("torture.svg");
                fs::write(&path, plot::plot(&title, &report.resident_series, &report.heap_series))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            // A few seconds say nothing about a slope.
            for (name, slope) in [("workerd", report.resident), ("WebAssembly", report.heap)] {
                let growth = slope.per_minute * 100.0;
                ensure!(short || slope.per_minute <= FLAT, "the memory of {name} grows by {growth:.2} % in a minute");
            }
            serde_json::to_value(report)?
        }
        Part::Hostile => serde_json::to_value(hostile::run(seed, short).await?)?,
    })
}
