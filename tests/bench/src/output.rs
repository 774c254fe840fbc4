//! Writes the result as files.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{findings::Findings, machine::Machine, plot::plot};

/// A part of the document that a run replaces: its begin and end marks.
pub(crate) type Part = (&'static str, &'static str);

/// The part with the cost of a message.
const RESULTS: Part = ("<!-- results -->", "<!-- /results -->");
/// The part with the cost of compiling.
pub(crate) const COMPILE: Part = ("<!-- compile -->", "<!-- /compile -->");

/// The text of a new document besides the results.
const INTRODUCTION: &str = include_str!("introduction.md");

#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    rounds: usize,
    quick: bool,
    #[serde(flatten)]
    findings: &'a Findings,
}

/// Writes the findings, the document around `report`, and the picture.
pub(crate) fn write(folder: &Path, findings: &Findings, machine: &Machine, report: &str, run: Run) -> Result<()> {
    let results = Results { machine, rounds: run.rounds, quick: run.quick, findings };
    save_results(folder, "results.json", &results)?;
    fill_document(folder, RESULTS, report)?;
    if let Some(svg) = plot(findings) {
        save(&folder.join("benchmarks.svg"), &svg)?;
    }
    Ok(())
}

/// Writes the findings of every round.
pub(crate) fn save_results(folder: &Path, name: &str, results: &impl Serialize) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    save(&folder.join(name), &(serde_json::to_string_pretty(results)? + "\n"))
}

/// Writes the document with `report` as one part of it.
pub(crate) fn fill_document(folder: &Path, part: Part, report: &str) -> Result<()> {
    let path = folder.join("benchmarks.md");
    let document = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => INTRODUCTION.to_owned(),
        document => document.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let (begin, end) = part;
    let filled = fill(&document, part, report);
    save(&path, &filled.with_context(|| format!("{} has no `{begin}` before a `{end}`", path.display()))?)
}

/// The conditions of the measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The document with `report` between the marks of a part.
fn fill(document: &str, (begin, end): Part, report: &str) -> Option<String> {
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", report.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let (begin, end) = RESULTS;
        let document = format!("Before.\n\n{begin}\nold\n{end}\n\nAfter.\n");
        let filled = fill(&document, RESULTS, "new\n").expect("marks");
        assert_eq!(filled, format!("Before.\n\n{begin}\n\nnew\n\n{end}\n\nAfter.\n"));
        assert_eq!(fill(&filled, RESULTS, "new\n").expect("marks"), filled);
        assert_eq!(fill(&filled, COMPILE, "new"), None);
        assert_eq!(fill("no marks", RESULTS, "new"), None);
        assert_eq!(fill(&format!("{end}{begin}"), RESULTS, "new"), None);
    }

    #[test]
    fn the_introduction_has_a_place_for_the_results() {
        assert!(fill(INTRODUCTION, RESULTS, "").is_some());
        assert!(fill(INTRODUCTION, COMPILE, "").is_some());
    }
}
