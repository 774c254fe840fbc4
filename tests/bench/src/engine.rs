//! Reads criterion's results for the engine alone (`cargo bench --package bench-engine`), if they exist.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files;

/// The cost of one event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) nanoseconds: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// The benchmarks of the group, sorted by name.
pub(crate) fn read() -> Result<Vec<Event>> {
    let Ok(folders) = fs::read_dir(files::target().join("criterion/engine")) else { return Ok(Vec::new()) };
    let mut events = Vec::new();
    for folder in folders {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        // Other folders contain criterion's own report.
        let Ok(text) = fs::read_to_string(folder.path().join("new/estimates.json")) else { continue };
        let estimates: Estimates = serde_json::from_str(&text).with_context(|| format!("criterion's `{name}`"))?;
        events.push(Event { name, nanoseconds: estimates.median.point_estimate });
    }
    events.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(events)
}
