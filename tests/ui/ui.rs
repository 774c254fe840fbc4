//! Compile-pass and compile-fail cases. After a change of a message, check it, then run
//! `TRYBUILD=overwrite cargo test -p ui-tests`.

#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

#[test]
fn pass() {
    trybuild::TestCases::new().pass("pass/*.rs");
}

/// Apart from `pass`: trybuild checks all cases with one run of Cargo only if none of them has to be built.
#[test]
fn fail() {
    trybuild::TestCases::new().compile_fail("fail/*/*.rs");
}

/// The compiler reads only the files that lie in the folder of a theme.
#[test]
fn every_file_is_in_the_folder_of_a_theme() {
    let fail = Path::new(env!("CARGO_MANIFEST_DIR")).join("fail");
    let (folders, files): (Vec<_>, Vec<_>) = entries(&fail).into_iter().partition(|path| path.is_dir());
    let too_deep = folders.iter().flat_map(|folder| entries(folder)).filter(|path| path.is_dir());
    let wrong: Vec<_> = files.into_iter().chain(too_deep).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An expected text without a case would stay unread.
#[test]
fn every_text_has_its_case_and_every_name_is_used_once() {
    let fail = Path::new(env!("CARGO_MANIFEST_DIR")).join("fail");
    let files: Vec<_> = entries(&fail).iter().flat_map(|theme| entries(theme)).collect();
    let alone: Vec<_> = files.iter().filter(|path| !path.with_extension("rs").is_file()).collect();
    assert!(alone.is_empty(), "{alone:#?}");
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = files.iter().filter_map(|path| path.file_name()).filter(|name| !seen.insert(*name)).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

/// A case with several mistakes starts with `// 3 errors: why`.
#[test]
fn one_mistake_is_one_error() {
    let wrong: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.errors.len() != case.expected())
        .map(|case| format!("{}: {} errors, not {}", case.name, case.errors.len(), case.expected()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Otherwise two files would be the same case.
#[test]
fn no_two_cases_have_the_same_message_on_the_same_kind_of_token() {
    let mut seen: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for case in cases().into_iter().filter(|case| case.expected() == 1) {
        for error in &case.errors {
            seen.entry((error.message.clone(), error.token)).or_default().push(case.name.clone());
        }
    }
    let twice: Vec<_> = seen.into_iter().filter(|(_, names)| names.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

struct Case {
    name: String,
    source: String,
    errors: Vec<Error>,
}

struct Error {
    message: String,
    token: Token,
}

/// The place that an error points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Word,
    Text,
    Number,
    Attribute,
    Punctuation,
}

impl Case {
    fn expected(&self) -> usize {
        let stated = self.source.strip_prefix("// ").and_then(|rest| rest.split_once(" errors"));
        stated.map_or(1, |(number, _)| number.parse().expect("the number of errors"))
    }
}

fn cases() -> Vec<Case> {
    let themes = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fail"));
    let mut cases: Vec<_> = themes
        .iter()
        .flat_map(|theme| entries(theme))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Case {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            source: read(&path),
            errors: errors(&read(&path.with_extension("stderr"))),
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() > 70, "{} cases", cases.len());
    cases
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn errors(stderr: &str) -> Vec<Error> {
    let starts: Vec<_> = stderr.match_indices("error").map(|(at, _)| at).collect();
    let starts: Vec<_> =
        starts.into_iter().filter(|at| *at == 0 || stderr[..*at].ends_with('\n')).chain([stderr.len()]).collect();
    starts.windows(2).map(|bounds| error(&stderr[bounds[0]..bounds[1]])).collect()
}

fn error(block: &str) -> Error {
    let message = block.lines().take_while(|line| !line.trim_start().starts_with("-->")).collect::<Vec<_>>().join("\n");
    // The line above the first carets is the source.
    let lines: Vec<_> = block.lines().collect();
    let under = lines.iter().position(|line| line.trim_start().starts_with('|') && line.contains('^'));
    let under = under.unwrap_or_else(|| panic!("no source line in {block}"));
    let column = lines[under].chars().take_while(|c| *c != '^').count();
    let token = match lines[under - 1].chars().nth(column) {
        Some('"') => Token::Text,
        Some('0'..='9' | '-') => Token::Number,
        Some('#') => Token::Attribute,
        Some(c) if c.is_alphanumeric() || c == '_' => Token::Word,
        _ => Token::Punctuation,
    };
    Error { message, token }
}
