//! Checks the values of options by their kind.

use std::fmt::Display;

use quote::ToTokens;
use syn::{Expr, Lit, LitStr, Token, parse::Parser, punctuated::Punctuated};

use super::{origins, written};
use crate::{
    args::{self, Given, Value},
    diag::{self, Errors},
    model::Accepted,
    options::{OptionKind, Part, Takes, UNITS},
};

/// A value to check.
struct Asked<'g> {
    given: &'g Given,
    /// The option or the part, in messages.
    what: String,
    /// The option or the part with an example of a value.
    example: String,
}

/// Validates the value of an option.
pub(super) fn check(kind: &OptionKind, takes: Takes, given: &Given, errors: &mut Errors) -> Option<Accepted> {
    let asked = Asked { given, what: format!("option `{}`", kind.name), example: kind.written() };
    asked.accept(takes, errors)
}

impl Asked<'_> {
    fn accept(&self, takes: Takes, errors: &mut Errors) -> Option<Accepted> {
        match takes {
            Takes::WholeNumber { most } | Takes::Bytes { most } => self.whole_number(most, errors),
            Takes::Fraction => self.fraction(errors),
            Takes::Time { least, most } => self.time(least, most, errors),
            Takes::OneOf { ty, choices } => self.one_of(ty, choices, errors),
            Takes::TwoTexts { are, most_bytes } => self.two_texts(are, most_bytes, errors),
            Takes::Parts { ty, parts } => self.parts(ty, parts, errors),
            Takes::Origins => origins::check(self.given, &self.what, &self.example, errors),
        }
    }

    fn whole_number(&self, most: u32, errors: &mut Errors) -> Option<Accepted> {
        let Asked { given, what, example } = self;
        match given.literal().and_then(whole).filter(|number| (1..=most).contains(number)) {
            Some(number) => Some(Accepted::Number(number.into())),
            None => {
                let (most, found) = (grouped(most), not_that(given));
                let message = format!("{what} takes a whole number from 1 to {most}{found}");
                refuse(given.fault(), format!("{message}\nwrite for example `{example}`"), errors)
            }
        }
    }

    fn fraction(&self, errors: &mut Errors) -> Option<Accepted> {
        let Asked { given, what, example } = self;
        match given.literal().and_then(number).filter(|number| number.is_finite() && *number > 0.0) {
            Some(number) => Some(Accepted::Fraction(number)),
            None => {
                let message = format!("{what} takes a number above 0{}", not_that(given));
                let message = format!("{message}\nwrite for example `{example}` or `{} = 0.5`", given.name);
                refuse(given.fault(), message, errors)
            }
        }
    }

    fn time(&self, least: u64, most: u64, errors: &mut Errors) -> Option<Accepted> {
        let Asked { given, what, example } = self;
        let example = format!("write for example `{example}`");
        let units = format!("the units are {}", diag::list(UNITS.map(|(unit, _)| unit)));
        let Some(Lit::Str(text)) = given.literal() else {
            let message = format!("{what} takes a text: a whole number and a unit{}", not_that(given));
            return refuse(given.fault(), format!("{message}\n{units}\n{example}"), errors);
        };
        let value = text.value();
        let message = match milliseconds(&value) {
            Ok(ms) if (least..=most).contains(&ms) => return Some(Accepted::Number(ms)),
            Ok(_) => {
                let (least, most) = (readable(least), readable(most));
                format!("{what} takes a time from `{least}` to `{most}`, not `{value}`\n{example}")
            }
            Err(NoTime::NotANumber) => {
                format!("{what} takes a whole number and a unit, not `{value}`\n{units}\n{example}")
            }
            Err(NoTime::NoUnit) => format!("{what} needs a unit behind `{value}`\n{units}\n{example}"),
            Err(NoTime::UnknownUnit(unit)) => format!("unknown unit `{unit}` of `{}`\n{units}\n{example}", given.name),
        };
        refuse(text, message, errors)
    }

    fn one_of(
        &self,
        ty: &'static str,
        choices: &[(&'static str, &'static str)],
        errors: &mut Errors,
    ) -> Option<Accepted> {
        let Asked { given, what, .. } = self;
        let chosen = match given.literal() {
            Some(Lit::Str(text)) => text.value(),
            _ => String::new(),
        };
        match choices.iter().find(|(text, _)| *text == chosen) {
            Some((_, variant)) => Some(Accepted::Variant { ty, variant }),
            None => {
                let texts: Vec<_> = choices.iter().map(|(text, _)| format!("\"{text}\"")).collect();
                let (last, others) = texts.split_last()?;
                let accepted = format!("`{}` or `{last}`", others.join("`, `"));
                refuse(given.fault(), format!("{what} takes {accepted}{}", not_that(given)), errors)
            }
        }
    }

    fn two_texts(&self, are: &str, most_bytes: usize, errors: &mut Errors) -> Option<Accepted> {
        let Asked { given, what, example } = self;
        let takes = format!("{what} takes two texts, {are}{}\nwrite for example `{example}`", not_that(given));
        let Value::List(list) = &given.value else { return refuse(given.fault(), takes, errors) };
        let Ok(values) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(list.clone()) else {
            return refuse(list, takes, errors);
        };
        let mut texts = Vec::new();
        for value in &values {
            match args::literal(value) {
                Some(Lit::Str(text)) if texts.len() < 2 => texts.push(text),
                _ => return refuse(value, takes, errors),
            }
        }
        let [first, second] = *texts else { return refuse(&given.key, takes, errors) };
        let (first, second) = (self.bounded(first, most_bytes, errors), self.bounded(second, most_bytes, errors));
        Some(Accepted::Texts([first?, second?]))
    }

    fn bounded(&self, text: &LitStr, most_bytes: usize, errors: &mut Errors) -> Option<String> {
        let value = text.value();
        if (1..=most_bytes).contains(&value.len()) {
            return Some(value);
        }
        let (name, most, bytes) = (self.given.name, grouped(most_bytes), grouped(value.len()));
        refuse(text, format!("a text of `{name}` has 1 to {most} bytes, not {bytes}"), errors)
    }

    fn parts(&self, ty: &'static str, parts: &[Part], errors: &mut Errors) -> Option<Accepted> {
        let Asked { given, what, example } = self;
        let names: Vec<_> = parts.iter().map(|part| part.name).collect();
        // One value stands for the only part that is required.
        if let [first, rest @ ..] = parts
            && rest.iter().all(|part| !part.required)
            && matches!(given.value, Value::Is(_))
        {
            let value = self.accept(first.takes, errors)?;
            return Some(Accepted::Made { ty, parts: vec![value], methods: Vec::new() });
        }
        let Value::List(list) = &given.value else {
            let required = parts.iter().filter(|part| part.required).map(|part| part.name);
            let message = format!("{what} takes {}", diag::list(required));
            return refuse(given.fault(), format!("{message}\nwrite for example `{example}`"), errors);
        };
        let before = errors.len();
        let written = args::list(given.name, &names, list.clone(), errors).given;
        let find = |part: &Part| written.iter().find(|given| given.name == part.name);
        let lacks = |part: &&Part| part.required && find(part).is_none();
        let lacking: Vec<_> = parts.iter().filter(lacks).map(|part| part.name).collect();
        // An unknown key is probably the missing key misspelled, and has been reported.
        if !lacking.is_empty() && errors.len() == before {
            let message = format!("{what} lacks {}", diag::list(lacking));
            errors.on(&given.key, format!("{message}\nwrite for example `{example}`"));
        }
        let (mut arguments, mut methods) = (Vec::new(), Vec::new());
        for part in parts {
            let value = find(part).map(|given| {
                let what = format!("`{}` of `{}`", part.name, self.given.name);
                Asked { given, what, example: part.written() }.accept(part.takes, errors)
            });
            match (part.required, value) {
                (true, value) => arguments.push(value.flatten()),
                (false, Some(value)) => methods.push(value.map(|value| (part.name, value))),
                (false, None) => {}
            }
        }
        let (parts, methods): (Option<_>, Option<_>) = (arguments.into_iter().collect(), methods.into_iter().collect());
        Some(Accepted::Made { ty, parts: parts?, methods: methods? })
    }
}

/// ", not `…`", when there is a value.
pub(super) fn not_that(option: &Given) -> String {
    const LONGEST: usize = 60;

    let value = match &option.value {
        Value::Is(value) => written(value),
        Value::Unreadable(tokens) => written(tokens),
        Value::List(list) => format!("{}({})", option.name, written(list)),
        Value::Nothing => String::new(),
    };
    let readable = (1..=LONGEST).contains(&value.len());
    if readable { format!(", not `{value}`") } else { String::new() }
}

pub(super) fn refuse<T>(tokens: impl ToTokens, message: impl Display, errors: &mut Errors) -> Option<T> {
    errors.on(tokens, message);
    None
}

/// The reason why a string is not a time.
#[derive(Debug, PartialEq)]
enum NoTime<'t> {
    NotANumber,
    NoUnit,
    UnknownUnit(&'t str),
}

/// Parses a time. Numbers that overflow become the largest number, so they are out of every range.
fn milliseconds(text: &str) -> Result<u64, NoTime<'_>> {
    let (digits, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NoTime::NotANumber);
    }
    if unit.is_empty() {
        return Err(NoTime::NoUnit);
    }
    let per_unit = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(NoTime::UnknownUnit(unit))?.1;
    Ok(digits.parse().unwrap_or(u64::MAX).saturating_mul(per_unit))
}

/// Milliseconds in the largest unit of which they are a whole number.
pub(crate) fn readable(ms: u64) -> String {
    let largest = UNITS.into_iter().rev().find(|(_, per_unit)| ms.is_multiple_of(*per_unit));
    largest.map_or_else(String::new, |(unit, per_unit)| format!("{}{unit}", ms / per_unit))
}

/// The suffixes of a whole number.
const SUFFIXES: [&str; 13] =
    ["", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];

fn whole(literal: &Lit) -> Option<u32> {
    match literal {
        Lit::Int(number) if SUFFIXES.contains(&number.suffix()) => number.base10_parse().ok(),
        _ => None,
    }
}

fn number(literal: &Lit) -> Option<f64> {
    match literal {
        Lit::Int(number) if SUFFIXES.contains(&number.suffix()) => number.base10_parse().ok(),
        Lit::Float(number) if ["", "f32", "f64"].contains(&number.suffix()) => number.base10_parse().ok(),
        _ => None,
    }
}

/// Formats a number with separators: `32_768`.
pub(crate) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{DAY, HOUR, SECOND};

    #[test]
    fn a_time_is_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("0ms", Ok(0)),
            ("1500ms", Ok(1_500)),
            ("007s", Ok(7_000)),
            ("2m", Ok(120_000)),
            ("1h", Ok(3_600_000)),
            ("3650d", Ok(315_360_000_000)),
            ("213503982335d", Ok(u64::MAX)),
            ("18446744073709551616ms", Ok(u64::MAX)),
            ("", Err(NoTime::NotANumber)),
            ("s", Err(NoTime::NotANumber)),
            ("-1s", Err(NoTime::NotANumber)),
            ("+1s", Err(NoTime::NotANumber)),
            ("1.5h", Err(NoTime::NotANumber)),
            ("1_000s", Err(NoTime::NotANumber)),
            ("1 s", Err(NoTime::NotANumber)),
            (" 1s", Err(NoTime::NotANumber)),
            ("\u{661}s", Err(NoTime::NotANumber)),
            ("10", Err(NoTime::NoUnit)),
            ("1S", Err(NoTime::UnknownUnit("S"))),
            ("1s ", Err(NoTime::UnknownUnit("s "))),
            ("1h30m", Err(NoTime::UnknownUnit("h30m"))),
            ("1\u{b5}s", Err(NoTime::UnknownUnit("\u{b5}s"))),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_written_in_the_largest_unit() {
        assert_eq!([SECOND, HOUR, 3_650 * DAY, 1_500].map(readable), ["1s", "1h", "3650d", "1500ms"]);
    }
}
