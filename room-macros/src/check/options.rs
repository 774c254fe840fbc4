//! Validates the values of the options.

use std::{fmt::Display, ops::RangeInclusive};

use heck::{ToShoutySnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::{Expr, Lit, LitStr, Token, ext::IdentExt, parse::Parser, punctuated::Punctuated};

use super::{
    javascript::{self, Taken},
    written,
};
use crate::{
    args::{self, Given, Value},
    diag::{self, Errors},
    expand,
    model::{ALIASES, Binding, MARKER, Options, RateLimit, SCHEMAS},
};

/// The longest frame of the platform's automatic reply: Cloudflare's limit, which workerd counts in bytes.
const MAX_HEARTBEAT_BYTES: usize = 2_048;

/// Validates the options of the room in `module`. An option with a mistake counts as not given.
pub(super) fn check(given: &[Given], module: &Ident, errors: &mut Errors) -> Options {
    let mut options = Options {
        krate: expand::default_crate(),
        binding: binding(given, module, errors),
        class: class(given, module, errors),
        tag: "type".to_owned(),
        limits: Vec::new(),
        rate_limit: None,
        on_invalid: None,
        heartbeat: None,
        state_version: None,
        reconnect_grace_ms: None,
        purge_after_ms: None,
        batch_ms: None,
        watchdog_ms: None,
    };
    let limits = &mut options.limits;
    for option in given {
        match &*option.name {
            "tag" => set(&mut options.tag, tag(option, errors)),
            "crate" => set(&mut options.krate, args::krate(option, errors)),
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
            "watchdog" => options.watchdog_ms = time(option, SECOND..=DAY, "5m", errors),
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

/// ", not `…`", when there is a value.
fn not_that(option: &Given) -> String {
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

fn refuse<T>(tokens: impl ToTokens, message: impl Display, errors: &mut Errors) -> Option<T> {
    errors.on(tokens, message);
    None
}

fn text<'g>(option: &'g Given, errors: &mut Errors) -> Option<&'g LitStr> {
    match option.literal() {
        Some(Lit::Str(text)) if text.suffix().is_empty() => Some(text),
        _ => {
            let name = &option.name;
            let message = format!("option `{name}` takes a text{}\nwrite `{name} = \"…\"`", not_that(option));
            refuse(option.fault(), message, errors)
        }
    }
}

/// A name from an option or derived from the module's name, with its span for errors.
struct Name {
    name: String,
    at: TokenStream,
    span: Span,
    /// The hint for an invalid name.
    advice: String,
}

/// The name in the option `key`, or else the room's own, made by `default`. `None` if the option is not a string
/// literal.
fn name(
    key: &str,
    given: &[Given],
    module: &Ident,
    default: impl Fn(&str) -> String,
    errors: &mut Errors,
) -> Option<Name> {
    let own = default(&module.unraw().to_string());
    let example = if is_plain(&own) { own.clone() } else { default("chat") };
    match given.iter().find(|option| option.name == key) {
        Some(option) => {
            let text = text(option, errors)?;
            let advice = format!("write for example `{key} = \"{example}\"`");
            Some(Name { name: text.value(), at: text.to_token_stream(), span: text.span(), advice })
        }
        None => {
            let advice = format!("add for example `{key} = \"{example}\"` to `#[room]`");
            Some(Name { name: own, at: module.to_token_stream(), span: module.span(), advice })
        }
    }
}

/// True if the name is valid in JavaScript, in a configuration and in Rust.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn binding(given: &[Given], module: &Ident, errors: &mut Errors) -> Binding {
    let Some(Name { name, at, span, advice }) = name("binding", given, module, default_binding, errors) else {
        return Binding { name: String::new(), span: module.span() };
    };
    // With neither option, one error covers the class and the binding.
    let with_class = has_neither(given) && !is_plain(&default_class(&module.unraw().to_string()));
    if !is_plain(&name) && !with_class {
        let message = "cannot be the name of a binding, which has letters from a to z, digits and `_`";
        errors.on(at, format!("`{name}` {message}\n{advice}"));
    }
    Binding { name, span }
}

/// True if both names come from the module's name.
fn has_neither(given: &[Given]) -> bool {
    given.iter().all(|option| option.name != "binding" && option.name != "class")
}

fn default_binding(name: &str) -> String {
    name.to_shouty_snake_case()
}

fn default_class(name: &str) -> String {
    format!("{}Room", name.to_upper_camel_case())
}

fn class(given: &[Given], module: &Ident, errors: &mut Errors) -> Ident {
    let placeholder = || Ident::new("__Class", Span::call_site());
    let Some(Name { name, at, span, advice }) = name("class", given, module, default_class, errors) else {
        return placeholder();
    };
    let advice = match is_plain(&default_binding(&module.unraw().to_string())) {
        false if has_neither(given) => {
            "add for example `binding = \"CHAT\", class = \"ChatRoom\"` to `#[room]`".to_owned()
        }
        _ => advice,
    };
    let generated = || name == MARKER || ALIASES.contains(&&*name) || SCHEMAS.iter().any(|kind| kind.name == name);
    let why = match (is_plain(&name), javascript::taken(&name)) {
        (false, _) => "it has letters from a to z, digits and `_`",
        (true, Some(Taken::Reserved)) => "it is a reserved word of JavaScript",
        (true, Some(Taken::Global)) => "it would hide JavaScript's own item of that name from the Worker",
        (true, Some(Taken::Worker)) => "the Worker's JavaScript module has an item of that name",
        (true, None) if syn::parse_str::<Ident>(&name).is_err() => "it is a reserved word of Rust",
        (true, None) if generated() => "the room's module has a type of that name",
        (true, None) => return Ident::new(&name, Span::call_site().located_at(span)),
    };
    errors.on(at, format!("`{name}` cannot be the name of a Durable Object class\n{why}; {advice}"));
    placeholder()
}

pub(crate) fn tag(option: &Given, errors: &mut Errors) -> Option<String> {
    let text = text(option, errors)?;
    let tag = text.value();
    let why = match &*tag {
        "" => "takes the name of a key",
        "$room" => "cannot be `$room`, the key of what the room itself says",
        _ => return Some(tag),
    };
    refuse(text, format!("option `tag` {why}\nwrite for example `tag = \"type\"`"), errors)
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
        let found = not_that(option);
        refuse(option.fault(), format!("{what} takes a whole number from {least} to {most}{found}\n{example}"), errors)
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
    // An unknown key is probably the missing key misspelled, and has been reported.
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
            "`{name}` of `rate_limit` takes a number above 0{}\nwrite for example `{name} = 2` or `{name} = 0.5`",
            not_that(given)
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
            let message = format!("option `on_invalid` takes `{accepted}\"`{}", not_that(option));
            refuse(option.fault(), message, errors)
        }
    }
}

fn heartbeat(option: &Given, errors: &mut Errors) -> Option<[String; 2]> {
    let takes = format!(
        "option `heartbeat` takes two texts, a frame and the answer to it{}\n\
         write for example `heartbeat(\"ping\", \"pong\")`",
        not_that(option),
    );
    let Value::List(list) = &option.value else { return refuse(option.fault(), takes, errors) };
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
    let [ping, pong] = *texts else { return refuse(&option.key, takes, errors) };
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

/// The units of a time, in milliseconds.
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
        let message = format!("option `{name}` takes a text: a whole number and a unit{}", not_that(option));
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

/// Formats a number with separators: `32_768`.
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
