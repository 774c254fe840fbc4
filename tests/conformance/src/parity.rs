//! Checks `docs/parity.md`: the features of other libraries, each with the case or file that covers it here.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cases, harness::Platform};

const TEXT: &str = include_str!("../../../docs/parity.md");

/// The number of features. It detects a lost row.
pub const ROWS: usize = 47;

/// The table of the document.
#[derive(Debug)]
pub struct Parity {
    /// The rows of the table.
    pub rows: Vec<Row>,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The feature.
    pub feature: String,
    /// The cases that cover the feature.
    pub cases: Vec<String>,
    /// Other files that cover it, as paths from the root of the repository.
    pub files: Vec<String>,
}

/// Reads and checks the document.
///
/// # Errors
/// Fails if a row names nothing, or a case or file that does not exist.
pub fn read() -> Result<Parity> {
    let parity = Parity::parse(TEXT)?;
    parity.check().context("docs/parity.md")?;
    Ok(parity)
}

impl Parity {
    /// Parses the rows of all tables in a text.
    ///
    /// # Errors
    /// Fails if a row does not have three columns.
    pub fn parse(text: &str) -> Result<Parity> {
        let is_rule = |line: &str| line.starts_with("|---");
        let next = text.lines().skip(1).chain([""]);
        // Skip each header and the line under it.
        let lines =
            text.lines().zip(next).filter(|(line, next)| line.starts_with('|') && !is_rule(line) && !is_rule(next));
        let rows = lines.map(|(line, _)| {
            let columns: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let [feature, _, holds] = *columns else { bail!("docs/parity.md: not three columns: {line}") };
            let names = holds.split('`').skip(1).step_by(2).map(str::to_owned);
            let (files, cases) = names.partition(|name: &String| name.contains(['/', '.']));
            Ok(Row { feature: feature.to_owned(), cases, files })
        });
        Ok(Parity { rows: rows.collect::<Result<_>>()? })
    }

    /// Checks that every feature has a row, and that each row names at least one case or file, all of which exist.
    ///
    /// # Errors
    /// Fails with the first row that does not.
    pub fn check(&self) -> Result<()> {
        ensure!(self.rows.len() == ROWS, "{} rows, not {ROWS}", self.rows.len());
        let known: BTreeSet<_> = cases::memory().into_iter().map(|case| case.name).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for Row { feature, cases, files } in &self.rows {
            ensure!(!cases.is_empty() || !files.is_empty(), "`{feature}` names nothing that holds it");
            for case in cases {
                ensure!(known.contains(&**case), "`{feature}` names the case `{case}`, which there is not");
            }
            for file in files {
                ensure!(root.join(file).is_file(), "`{feature}` names the file `{file}`, which there is not");
            }
        }
        Ok(())
    }

    /// The cases of all rows, without duplicates.
    pub fn cases(&self) -> BTreeSet<&str> {
        self.rows.iter().flat_map(|row| &row.cases).map(String::as_str).collect()
    }

    /// Checks that each case has passed on each of its platforms.
    ///
    /// # Errors
    /// Fails with the first case that has not.
    pub fn ran(&self, passed: impl Fn(Platform, &str) -> bool) -> Result<()> {
        let only: HashMap<_, _> = cases::memory()
            .into_iter()
            .map(|case| (case.name, case.about.only.map(|(platform, _)| platform)))
            .collect();
        for case in self.cases() {
            for platform in [Platform::Memory, Platform::Workerd] {
                let is_for_it = only.get(case).is_some_and(|only| only.is_none_or(|only| only == platform));
                ensure!(
                    !is_for_it || passed(platform, case),
                    "docs/parity.md names `{case}`, which did not run and pass in {}",
                    platform.name()
                );
            }
        }
        Ok(())
    }
}
