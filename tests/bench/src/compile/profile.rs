//! Reads the time of macros from rustc's own profile, which has an event for each expansion.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use decodeme::EventDecoder;
use serde::Serialize;

use crate::{stats::Spread, variants::Variant};

/// The event of a procedural macro that runs. It does not include rustc's work on the output.
const EVENT: &str = "expand_proc_macro";

/// The time of one macro in one compilation, over all its uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Expansions {
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    pub(crate) name: String,
    pub(crate) count: usize,
    pub(crate) total_ms: f64,
    /// The time of the first use, which includes work that is done once per compilation.
    pub(crate) first_ms: f64,
    /// The median time of the other uses.
    pub(crate) other_ms: Option<f64>,
}

/// Reads the only profile in a folder.
pub(crate) fn read(folder: &Path, variant: Variant, round: usize) -> Result<Vec<Expansions>> {
    let mut files = fs::read_dir(folder).context("cannot list the profiles")?;
    let file = files.next().context("rustc wrote no profile")?.context("cannot list the profiles")?.path();
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let profile = EventDecoder::new(bytes, Some(&file)).map_err(|error| anyhow!(error))?;
    let mut runs: Vec<_> = (0..profile.num_events())
        .map(|index| profile.decode_full_event(index))
        .filter(|event| event.label == EVENT)
        .filter_map(|event| {
            let start = event.payload.timestamp()?.start();
            Some((start, name(event.additional_data.first()?), event.duration()?))
        })
        .collect();
    runs.sort();
    Ok(expansions(runs.into_iter().map(|(_, name, time)| (name, time)), variant, round))
}

/// Groups the runs by macro, in their order.
fn expansions(runs: impl IntoIterator<Item = (String, Duration)>, variant: Variant, round: usize) -> Vec<Expansions> {
    let mut macros: Vec<(String, Vec<f64>)> = Vec::new();
    for (name, time) in runs {
        let ms = time.as_secs_f64() * 1e3;
        match macros.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(ms),
            None => macros.push((name, vec![ms])),
        }
    }
    let expansions = macros.into_iter().map(|(name, times)| Expansions {
        variant,
        round,
        name,
        count: times.len(),
        total_ms: times.iter().sum(),
        first_ms: times[0],
        other_ms: Spread::of(times[1..].iter().copied()).map(|spread| spread.median),
    });
    expansions.collect()
}

/// The macro's name without its path: `#[derive(::serde::Serialize)]` becomes `#[derive(Serialize)]`.
fn name(description: &str) -> String {
    let start = description.find(|it: char| it.is_alphanumeric() || matches!(it, ':' | '$' | '_')).unwrap_or_default();
    let start = match description[start..].strip_prefix("derive(") {
        Some(_) => start + "derive(".len(),
        None => start,
    };
    let (before, path) = description.split_at(start);
    let last = path.rsplit_once("::").map_or(path, |(_, last)| last);
    format!("{before}{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_has_one_name_by_whatever_path() {
        for (description, expected) in [
            ("#[room]", "#[room]"),
            ("#[derive(Serialize)]", "#[derive(Serialize)]"),
            ("#[derive(::room_runtime::__private::serde::Serialize)]", "#[derive(Serialize)]"),
            ("#[$crate::__private::worker::durable_object]", "#[durable_object]"),
            ("#[::worker::wasm_bindgen::prelude::__wasm_bindgen_class_marker]", "#[__wasm_bindgen_class_marker]"),
            ("vec!", "vec!"),
        ] {
            assert_eq!(name(description), expected);
        }
    }

    #[test]
    fn the_first_run_is_distinguished_from_the_others() {
        let runs = [("#[room]", 30), ("#[data]", 7), ("#[room]", 2), ("#[room]", 4)];
        let runs = runs.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)));
        let found = expansions(runs, Variant::Ours, 3);
        let room = Expansions {
            variant: Variant::Ours,
            round: 3,
            name: "#[room]".into(),
            count: 3,
            total_ms: 36.0,
            first_ms: 30.0,
            other_ms: Some(3.0),
        };
        assert_eq!(found[0], room);
        assert_eq!((found.len(), found[1].other_ms), (2, None));
    }

    #[test]
    fn a_folder_without_a_profile_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = read(folder.path(), Variant::Ours, 0).expect_err("no profile");
        assert_eq!(error.to_string(), "rustc wrote no profile");
    }
}
