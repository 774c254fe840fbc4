//! Checks a list of origins. `room-runtime/src/wire/origin.rs` compares origins at run time.

use syn::{Expr, Lit, LitStr, Token, parse::Parser, punctuated::Punctuated};

use super::values::{not_that, refuse};
use crate::{
    args::{self, Given, Value},
    diag::Errors,
    model::Accepted,
};

/// An origin in the form in which browsers send it.
#[derive(Debug, PartialEq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

pub(super) fn check(given: &Given, what: &str, example: &str, errors: &mut Errors) -> Option<Accepted> {
    let takes = format!("{what} takes a list of origins, as texts");
    let example = format!("write for example `{example}`");
    let Value::List(list) = &given.value else {
        return refuse(given.fault(), format!("{takes}{}\n{example}", not_that(given)), errors);
    };
    let Ok(values) = Punctuated::<Expr, Token![,]>::parse_terminated.parse2(list.clone()) else {
        return refuse(list, format!("{takes}\n{example}"), errors);
    };
    if values.is_empty() {
        let message = format!("{what} lists no origin, so no page could connect");
        return refuse(&given.key, format!("{message}\n{example}, or remove the option to allow every origin"), errors);
    }
    let (mut texts, mut seen, before) = (Vec::new(), Vec::new(), errors.len());
    for value in &values {
        let Some(Lit::Str(text)) = args::literal(value) else {
            refuse::<()>(value, format!("{takes}\n{example}"), errors);
            continue;
        };
        match origin(&text.value()) {
            Ok(origin) if seen.contains(&origin) => {
                refuse::<()>(text, duplicate(text, given.name), errors);
            }
            Ok(origin) => {
                seen.push(origin);
                texts.push(text.value());
            }
            Err(message) => _ = refuse::<()>(text, message, errors),
        }
    }
    (errors.len() == before).then_some(Accepted::Origins(texts))
}

fn duplicate(text: &LitStr, option: &str) -> String {
    format!("`{}` is in `{option}` twice\nremove one of them", text.value())
}

/// Parses an origin (RFC 6454, 6.2), or says what to write in its place. `None` is the origin `null`.
fn origin(text: &str) -> Result<Option<Origin>, String> {
    if text == "null" {
        return Ok(None);
    }
    if text == "*" {
        return Err("`*` is not an origin\nremove the option `allowed_origins` to allow every origin".to_owned());
    }
    let no_origin = |why: &str| format!("`{text}` is not an origin: {why}");
    let Some((scheme, rest)) = text.split_once("://") else {
        let host = text.split(['/', '?', '#']).next().unwrap_or_default();
        let instead = if is_host(host) { format!("\nwrite `https://{host}`") } else { String::new() };
        return Err(no_origin("it has no scheme") + &instead);
    };
    let is_scheme = |scheme: &str| {
        let mut chars = scheme.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic())
            && chars.all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
    };
    if !is_scheme(scheme) {
        return Err(no_origin("its scheme is none") + "\nwrite for example `https://example.com`");
    }
    let scheme = scheme.to_ascii_lowercase();
    if let "ws" | "wss" = &*scheme {
        let message = no_origin("it is the origin of the page that opens the WebSocket");
        let page = if scheme == "ws" { "http" } else { "https" };
        return Err(format!("{message}\nwrite `{page}://{rest}`"));
    }
    if let Some(at) = rest.find(['/', '?', '#']) {
        let (authority, path) = rest.split_at(at);
        let why = if path == "/" { "it ends with a slash" } else { "it has a path" };
        return Err(format!("{}\nwrite `{scheme}://{authority}`", no_origin(why)));
    }
    if let Some((_, host)) = rest.rsplit_once('@') {
        return Err(format!("{}\nwrite `{scheme}://{host}`", no_origin("it has a user name")));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let port = match port.map(|digits| (digits.parse::<u16>(), digits)) {
        None => default_port(&scheme),
        Some((Ok(port), digits)) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(port),
        Some(_) => return Err(no_origin("its port is not a number from 1 to 65535")),
    };
    if !host.is_ascii() {
        let why = "its host has letters that browsers encode";
        return Err(format!("{}\nwrite the host in its ASCII form, `xn--…`", no_origin(why)));
    }
    if let Some(at) = host.find('*') {
        let base = host.strip_prefix("*.").unwrap_or_default();
        if at > 0 || base.is_empty() || base.contains('*') {
            let why = "a `*` stands for the whole first label of a host";
            return Err(format!("{}\nwrite for example `https://*.example.com`", no_origin(why)));
        }
        // Anyone can get a name directly below a top-level domain.
        if !base.contains('.') && !base.eq_ignore_ascii_case("localhost") {
            let why = "the `*` would allow every site of a top-level domain";
            return Err(format!("{}\nwrite for example `https://*.example.com`", no_origin(why)));
        }
        if !is_host(base) {
            return Err(no_origin("its host is none"));
        }
    } else if !is_host(host) {
        return Err(no_origin("its host is none"));
    }
    Ok(Some(Origin { scheme, host: host.to_ascii_lowercase(), port }))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// True for names, for IPv4 addresses, and for IPv6 addresses in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, scheme, host, port) in [
            ("https://example.com", "https", "example.com", Some(443)),
            ("HTTPS://Example.COM:443", "https", "example.com", Some(443)),
            ("http://localhost:8787", "http", "localhost", Some(8787)),
            ("http://[::1]:80", "http", "[::1]", Some(80)),
            ("http://[::1]", "http", "[::1]", Some(80)),
            ("https://*.example.com", "https", "*.example.com", Some(443)),
            ("http://*.localhost:3000", "http", "*.localhost", Some(3000)),
            ("chrome-extension://abcdef", "chrome-extension", "abcdef", None),
        ] {
            let (scheme, host) = (scheme.to_owned(), host.to_owned());
            assert_eq!(origin(text), Ok(Some(Origin { scheme, host, port })), "{text}");
        }
        assert_eq!(origin("null"), Ok(None));
    }

    #[test]
    fn anything_else_is_an_error() {
        for (text, part) in [
            ("", "no scheme"),
            ("*", "remove the option"),
            ("example.com", "write `https://example.com`"),
            ("//example.com", "no scheme"),
            ("://example.com", "scheme is none"),
            ("1http://example.com", "scheme is none"),
            ("wss://example.com", "write `https://example.com`"),
            ("https://example.com/", "a slash"),
            ("https://example.com/app", "a path"),
            ("https://example.com?x", "a path"),
            ("https://example.com#x", "a path"),
            ("https://me@example.com", "a user name"),
            ("https://example.com:", "port"),
            ("https://example.com:0", "port"),
            ("https://example.com:+80", "port"),
            ("https://example.com:65536", "port"),
            ("https://example.com:80:80", "host is none"),
            ("https://", "host is none"),
            ("https://exa mple.com", "host is none"),
            ("https://.example.com", "host is none"),
            ("https://[::g]", "host is none"),
            ("https://ex\u{e4}mple.com", "xn--"),
            ("https://*", "first label"),
            ("https://*.", "first label"),
            ("https://a.*.example.com", "first label"),
            ("https://*.*.example.com", "first label"),
            ("https://a*.example.com", "first label"),
            ("https://*.com", "top-level domain"),
            ("NULL", "no scheme"),
        ] {
            let message = origin(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
