//! The result as files.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{findings::Findings, machine::Machine, plot::plot};

const BEGIN: &str = "<!-- results -->";
const END: &str = "<!-- /results -->";

/// What the document says besides the results, when there is none yet.
const INTRODUCTION: &str = include_str!("introduction.md");

#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    rounds: usize,
    quick: bool,
    #[serde(flatten)]
    findings: &'a Findings,
}

/// Writes what was found, the document around `report`, and the picture.
pub(crate) fn write(folder: &Path, findings: &Findings, machine: &Machine, report: &str, run: Run) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let results = Results { machine, rounds: run.rounds, quick: run.quick, findings };
    save(&folder.join("results.json"), &(serde_json::to_string_pretty(&results)? + "\n"))?;

    let path = folder.join("benchmarks.md");
    let document = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => INTRODUCTION.to_owned(),
        document => document.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let filled = fill(&document, report);
    save(&path, &filled.with_context(|| format!("{} has no `{BEGIN}` before a `{END}`", path.display()))?)?;

    if let Some(svg) = plot(findings) {
        save(&folder.join("benchmarks.svg"), &svg)?;
    }
    Ok(())
}

/// How it was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The document with `report` between the marks.
fn fill(document: &str, report: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", report.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let document = format!("Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let filled = fill(&document, "new\n").expect("marks");
        assert_eq!(filled, format!("Before.\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n"));
        assert_eq!(fill(&filled, "new\n").expect("marks"), filled);
        assert_eq!(fill("no marks", "new"), None);
        assert_eq!(fill(&format!("{END}{BEGIN}"), "new"), None);
    }

    #[test]
    fn the_introduction_has_a_place_for_the_results() {
        assert!(fill(INTRODUCTION, "").is_some());
    }
}
