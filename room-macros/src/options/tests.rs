//! Writes the reference of the options from the table, and compares the table with the macro and the runtime.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p room-macros` rewrites the reference.

use super::*;
use crate::{
    check::values::{grouped, readable},
    data,
    model::HANDLERS,
    tests::{check, read, stream},
};

#[test]
fn the_reference_lists_the_options() {
    check("src/options.md", &reference());
}

#[test]
fn the_reference_states_the_accepted_values() {
    for option in OPTIONS {
        let takes = takes(option.sets);
        assert_eq!(takes.and_then(range).is_some(), option.doc.contains("{range}"), "{}", option.name);
        if let Some(Takes::OneOf { choices, .. }) = takes {
            for (text, _) in choices {
                assert!(option.doc.contains(&format!("(`\"{text}\"`)")), "{}: {text}", option.name);
            }
        }
    }
}

#[test]
fn each_example_is_accepted() {
    for option in OPTIONS {
        expand(option, option.example);
        if let Some(Takes::Parts { parts, .. }) = takes(option.sets) {
            let parts: Vec<_> = parts.iter().map(Part::written).collect();
            expand(option, &format!("({})", parts.join(", ")));
        }
    }
}

#[test]
fn each_default_is_the_one_of_the_runtime() {
    // Both packages are in one folder also when they are tested as they are published.
    let room = compact(&read("../room-runtime/src/api/room.rs"));
    let limits = compact(&read("../room-runtime/src/types/limits.rs"));
    for option in OPTIONS {
        let Fallback::Value(value) = option.default else { continue };
        let expanded = compact(&expand(option, value)).replace("::room_runtime::", "");
        match option.sets {
            Sets::Constant(name, _) => {
                let (_, constant) = expanded.split_once(&format!("const{name}:")).expect("the constant is emitted");
                let (constant, _) = constant.split_once(';').expect("it ends");
                assert!(room.contains(&format!("const{name}:{constant};")), "{name}: {constant}");
            }
            Sets::Limit(_) => {
                assert!(expanded.contains(&format!("Limits::DEFAULT.{}({value})", option.name)), "{expanded}");
                let (_, default) = limits.split_once("constDEFAULT:").expect("the limits have defaults");
                let (default, _) = default.split_once(';').expect("they end");
                assert!(default.contains(&format!("{}:{value},", option.name)), "{}: {default}", option.name);
            }
            Sets::Tag => assert_eq!(value, format!("{:?}", data::TAG)),
            Sets::Binding | Sets::Class | Sets::Crate | Sets::Rules(_) => {
                panic!("the default of `{}` is not a value", option.name)
            }
        }
    }
}

#[test]
fn options_and_handlers_need_what_exists() {
    for option in OPTIONS {
        let handler = |needed| HANDLERS.into_iter().any(|kind| kind.name == needed);
        assert!(option.needs.is_none_or(handler), "{}", option.name);
        assert!(option.beside.is_none_or(|beside| find(beside).is_some()), "{}", option.name);
    }
    for handler in HANDLERS {
        assert!(handler.needs.is_none_or(|option| find(option).is_some()), "{}", handler.name);
    }
}

#[test]
fn ranges_read_as_in_prose() {
    for (takes, expected) in [
        (Takes::WholeNumber { most: 999 }, "up to 999"),
        (Takes::WholeNumber { most: 1_234_567 }, "up to 1,234,567"),
        (Takes::Bytes { most: 65_537 }, "up to 65,537 bytes"),
        (Takes::Bytes { most: 2 << 20 }, "up to 2 MiB"),
        (Takes::Time { least: 1, most: 1_500 }, "from 1 ms to 1,500 ms"),
        (Takes::Time { least: SECOND, most: 3_650 * DAY }, "from 1 s to 3,650 d"),
    ] {
        assert_eq!(range(takes).as_deref(), Some(expected));
    }
}

fn takes(sets: Sets) -> Option<Takes> {
    match sets {
        Sets::Constant(_, takes) | Sets::Limit(takes) => Some(takes),
        Sets::Binding | Sets::Class | Sets::Tag | Sets::Crate | Sets::Rules(_) => None,
    }
}

/// The expansion of a room with only this option, and with the handler and the option that it needs.
fn expand(option: &OptionKind, value: &str) -> String {
    let needed = HANDLERS.into_iter().find(|kind| option.needs == Some(kind.name));
    let handler = needed.map_or_else(String::new, |kind| kind.signature(kind.parameters) + " {}");
    let schemas = "pub struct State; pub struct Connection; pub struct Event; pub struct Broadcast;";
    let module = format!("pub mod chat {{ use super::*; {schemas} {handler} }}");
    let beside = option.beside.and_then(find).map_or_else(String::new, |beside| format!(", {}", beside.written()));
    let options = written(option.name, value) + &beside;
    let expanded = crate::room_impl(stream(&options), stream(&module)).to_string();
    assert!(!expanded.contains("compile_error"), "{}: {expanded}", option.name);
    expanded
}

/// The source without spaces and without separators in numbers.
fn compact(source: &str) -> String {
    let mut compact = String::new();
    for char in source.chars().filter(|char| !char.is_whitespace()) {
        if char != '_' || !compact.ends_with(|last: char| last.is_ascii_digit()) {
            compact.push(char);
        }
    }
    compact
}

/// The reference: a table of the options, and the form of a time.
fn reference() -> String {
    let mut reference = "| option | default | meaning |\n|---|---|---|\n".to_owned();
    for option in OPTIONS {
        let takes = takes(option.sets);
        let default = match option.default {
            Fallback::Text(text) => text.to_owned(),
            Fallback::Value(value) => match (takes, value.parse()) {
                (Some(Takes::Bytes { .. }), Ok(number)) => bytes(number),
                (_, Ok(number)) => separated(number),
                (_, Err(_)) => format!("`{value}`"),
            },
        };
        let meaning = option.doc.replace("{range}", &takes.and_then(range).unwrap_or_default());
        reference += &format!("| `{}` | {default} | {meaning} |\n", option.written());
    }
    let (last, units) = UNITS.split_last().expect("there are units");
    let units: Vec<_> = units.iter().map(|(unit, _)| format!("`{unit}`")).collect();
    reference + &format!("\nA time is a whole number and one unit: {} or `{}`.\n", units.join(", "), last.0)
}

/// The accepted values, if they are a range.
fn range(takes: Takes) -> Option<String> {
    match takes {
        Takes::WholeNumber { most } => Some(format!("up to {}", separated(most.into()))),
        Takes::Bytes { most } => Some(format!("up to {}", bytes(most.into()))),
        Takes::TwoTexts { most_bytes, .. } => Some(format!("up to {}", bytes(most_bytes as u64))),
        Takes::Time { least, most } => Some(format!("from {} to {}", time(least), time(most))),
        Takes::Fraction | Takes::OneOf { .. } | Takes::Parts { .. } | Takes::Origins => None,
    }
}

fn bytes(number: u64) -> String {
    const MIB: u64 = 1 << 20;
    match number.is_multiple_of(MIB) {
        true => format!("{} MiB", separated(number / MIB)),
        false => format!("{} bytes", separated(number)),
    }
}

fn time(ms: u64) -> String {
    let text = readable(ms);
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).expect("a time has a unit"));
    format!("{} {unit}", separated(number.parse().expect("a time begins with a number")))
}

fn separated(number: u64) -> String {
    grouped(number).replace('_', ",")
}
