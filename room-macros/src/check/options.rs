//! What each option takes.

use std::{fmt::Display, ops::RangeInclusive};

use heck::{ToShoutySnakeCase, ToUpperCamelCase};
use proc_macro2::Ident;
use quote::{ToTokens, format_ident};
use syn::{Expr, Lit, LitStr, Path, Token, parse::Parser, punctuated::Punctuated};

use crate::{
    args::{self, Given, Value},
    diag::{self, Errors},
    expand,
    model::{Options, RateLimit},
};

/// The longest frame that the platform answers by itself. Cloudflare's limit, which workerd counts in bytes.
const MAX_HEARTBEAT_BYTES: usize = 2_048;

/// Validates the options of the room `name`. One with a mistake counts as not given.
pub(super) fn check(given: &[Given], name: &str, errors: &mut Errors) -> Options {
    let mut options = Options {
        krate: expand::default_crate(),
        binding: default_binding(name),
        class: default_class(name),
        tag: "type".to_owned(),
        limits: Vec::new(),
        rate_limit: None,
        on_invalid: None,
        heartbeat: None,
        state_version: None,
        reconnect_grace_ms: None,
        purge_after_ms: None,
        batch_ms: None,
    };
    let limits = &mut options.limits;
    for option in given {
        match &*option.name {
            "binding" => set(&mut options.binding, binding(option, name, errors)),
            "class" => set(&mut options.class, class(option, name, errors)),
            "tag" => set(&mut options.tag, text(option, errors).map(LitStr::value)),
            "crate" => set(&mut options.krate, krate(option, errors)),
            "max_peers" => limits.extend(limit("max_peers", option, 32_768, 1_000, errors)),
            "max_message_bytes" => limits.extend(limit("max_message_bytes", option, 33_554_432, 65_536, errors)),
            "max_unread_bytes" => limits.extend(limit("max_unread_bytes", option, 134_217_728, 1_048_576, errors)),
            "rate_limit" => options.rate_limit = rate_limit(option, errors),
            "on_invalid" => options.on_invalid = on_invalid(option, errors),
            "heartbeat" => options.heartbeat = heartbeat(option, errors),
            "state_version" => {
                options.state_version = whole_number("option `state_version`", option, 1..=u32::MAX, 1, errors);
            }
            "reconnect_grace" => options.reconnect_grace_ms = time(option, SECOND..=HOUR, "10s", errors),
            "batch" => options.batch_ms = time(option, 1..=SECOND, "20ms", errors),
            "purge_after" => options.purge_after_ms = time(option, SECOND..=3_650 * DAY, "30d", errors),
            _ => {}
        }
    }
    options
}

fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}

fn refuse<T>(tokens: impl ToTokens, message: impl Display, errors: &mut Errors) -> Option<T> {
    errors.on(tokens, message);
    None
}

fn default_binding(name: &str) -> String {
    name.to_shouty_snake_case()
}

fn default_class(name: &str) -> Ident {
    format_ident!("{}Room", name.to_upper_camel_case())
}

fn text<'g>(option: &'g Given, errors: &mut Errors) -> Option<&'g LitStr> {
    match option.literal() {
        Some(Lit::Str(text)) => Some(text),
        _ => {
            let name = &option.name;
            refuse(option.fault(), format!("option `{name}` takes a text\nwrite `{name} = \"…\"`"), errors)
        }
    }
}

fn binding(option: &Given, name: &str, errors: &mut Errors) -> Option<String> {
    let text = text(option, errors)?;
    let binding = text.value();
    let mut chars = binding.chars();
    let valid = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid {
        return Some(binding);
    }
    let example = default_binding(name);
    let message = "cannot be the name of a binding\nwrite letters, digits and `_`, for example";
    refuse(text, format!("`{binding}` {message} `{example}`"), errors)
}

fn class(option: &Given, name: &str, errors: &mut Errors) -> Option<Ident> {
    let text = text(option, errors)?;
    match syn::parse_str::<Ident>(&text.value()) {
        Ok(class) => Some(Ident::new(&class.to_string(), text.span())),
        Err(_) => {
            let (class, example) = (text.value(), default_class(name));
            let message = "cannot be the name of a Durable Object class\nwrite an identifier, for example";
            refuse(text, format!("`{class}` {message} `{example}`"), errors)
        }
    }
}

fn krate(option: &Given, errors: &mut Errors) -> Option<Path> {
    let text = text(option, errors)?;
    match syn::parse_str(&text.value()) {
        Ok(path) => Some(path),
        Err(_) => {
            let message = "cannot be the name of a crate\nwrite a path, for example `room_runtime`";
            refuse(text, format!("`{}` {message}", text.value()), errors)
        }
    }
}

fn limit(
    name: &'static str,
    option: &Given,
    most: u32,
    example: u32,
    errors: &mut Errors,
) -> Option<(&'static str, u32)> {
    let number = whole_number(&format!("option `{name}`"), option, 1..=most, example, errors)?;
    Some((name, number))
}

fn whole_number(
    what: &str,
    option: &Given,
    accepted: RangeInclusive<u32>,
    example: u32,
    errors: &mut Errors,
) -> Option<u32> {
    let number = option.literal().and_then(whole).filter(|number| accepted.contains(number));
    number.or_else(|| {
        let (least, most) = (grouped(accepted.start()), grouped(accepted.end()));
        let example = format!("write for example `{} = {example}`", option.name);
        refuse(option.fault(), format!("{what} takes a whole number from {least} to {most}\n{example}"), errors)
    })
}

fn rate_limit(option: &Given, errors: &mut Errors) -> Option<RateLimit> {
    const EXAMPLE: &str = "write for example `rate_limit(burst = 10, per_second = 2)`";
    let Value::List(list) = &option.value else {
        let message = format!("option `rate_limit` takes `burst` and `per_second`\n{EXAMPLE}");
        return refuse(option.fault(), message, errors);
    };
    let before = errors.len();
    let given = args::list("rate_limit", &["burst", "per_second"], list.clone(), errors).given;
    let find = |name: &str| given.iter().find(|option| option.name == name);
    let (burst, per_second) = (find("burst"), find("per_second"));
    let lacking = match (burst, per_second) {
        (None, None) => Some("`burst` and `per_second`"),
        (None, Some(_)) => Some("`burst`"),
        (Some(_), None) => Some("`per_second`"),
        (Some(_), Some(_)) => None,
    };
    // A key that is not known was meant to be the one that is missing.
    if let Some(lacking) = lacking.filter(|_| errors.len() == before) {
        errors.on(&option.key, format!("option `rate_limit` lacks {lacking}\n{EXAMPLE}"));
    }
    let what = "`burst` of `rate_limit`";
    let burst = burst.and_then(|given| whole_number(what, given, 1..=u32::MAX, 10, errors));
    let per_second = per_second.and_then(|given| fraction(given, errors));
    Some(RateLimit { burst: burst?, per_second: per_second? })
}

fn fraction(given: &Given, errors: &mut Errors) -> Option<f64> {
    let number = given.literal().and_then(number).filter(|number| number.is_finite() && *number > 0.0);
    number.or_else(|| {
        let name = &given.name;
        let message = format!(
            "`{name}` of `rate_limit` takes a number above 0\nwrite for example `{name} = 2` or `{name} = 0.5`"
        );
        refuse(given.fault(), message, errors)
    })
}

fn on_invalid(option: &Given, errors: &mut Errors) -> Option<&'static str> {
    let chosen = match option.literal() {
        Some(Lit::Str(text)) => text.value(),
        _ => String::new(),
    };
    match &*chosen {
        "report" => Some("Report"),
        "ignore" => Some("Ignore"),
        "close" => Some("Close"),
        _ => {
            let accepted = r#""report"`, `"ignore"` or `"close"#;
            refuse(option.fault(), format!("option `on_invalid` takes `{accepted}\"`"), errors)
        }
    }
}

fn heartbeat(option: &Given, errors: &mut Errors) -> Option<[String; 2]> {
    const TAKES: &str = "option `heartbeat` takes two texts: a frame, and the answer to it\n\
                         write for example `heartbeat(\"ping\", \"pong\")`";
    let Value::List(list) = &option.value else { return refuse(option.fault(), TAKES, errors) };
    let Ok(values) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(list.clone()) else {
        return refuse(list, TAKES, errors);
    };
    let mut texts = Vec::new();
    for value in &values {
        match args::literal(value) {
            Some(Lit::Str(text)) if texts.len() < 2 => texts.push(text),
            _ => return refuse(value, TAKES, errors),
        }
    }
    let [ping, pong] = *texts else { return refuse(&option.key, TAKES, errors) };
    let (ping, pong) = (heartbeat_frame(ping, errors), heartbeat_frame(pong, errors));
    Some([ping?, pong?])
}

fn heartbeat_frame(text: &LitStr, errors: &mut Errors) -> Option<String> {
    let frame = text.value();
    match frame.len() {
        1..=MAX_HEARTBEAT_BYTES => Some(frame),
        bytes => {
            let (most, bytes) = (grouped(MAX_HEARTBEAT_BYTES), grouped(bytes));
            refuse(text, format!("a text of `heartbeat` has 1 to {most} bytes, not {bytes}"), errors)
        }
    }
}

/// The units of a time, and how many milliseconds each has.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", HOUR), ("d", DAY)];
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// A time in milliseconds.
fn time(option: &Given, accepted: RangeInclusive<u64>, example: &str, errors: &mut Errors) -> Option<u64> {
    let name = &option.name;
    let example = format!("write for example `{name} = \"{example}\"`");
    let units = format!("the units are {}", diag::list(UNITS.map(|(unit, _)| unit)));
    let Some(Lit::Str(text)) = option.literal() else {
        let message = format!("option `{name}` takes a text: a whole number and a unit");
        return refuse(option.fault(), format!("{message}\n{units}\n{example}"), errors);
    };
    let value = text.value();
    let message = match milliseconds(&value) {
        Ok(ms) if accepted.contains(&ms) => return Some(ms),
        Ok(_) => {
            let (least, most) = (readable(*accepted.start()), readable(*accepted.end()));
            format!("option `{name}` takes a time from `{least}` to `{most}`, not `{value}`\n{example}")
        }
        Err(NoTime::NotANumber) => {
            format!("option `{name}` takes a whole number and a unit, not `{value}`\n{units}\n{example}")
        }
        Err(NoTime::NoUnit) => format!("option `{name}` needs a unit behind `{value}`\n{units}\n{example}"),
        Err(NoTime::UnknownUnit(unit)) => format!("unknown unit `{unit}` of `{name}`\n{units}\n{example}"),
    };
    refuse(text, message, errors)
}

/// Why a text is no time.
#[derive(Debug, PartialEq)]
enum NoTime<'t> {
    NotANumber,
    NoUnit,
    UnknownUnit(&'t str),
}

/// What is too large for a number is the largest there is, and so out of any range.
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
fn readable(ms: u64) -> String {
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

/// `32_768`, so that a person can read it.
fn grouped(number: impl Display) -> String {
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
