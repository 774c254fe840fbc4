//! Compares the origin of a page with the allowed ones (RFC 6454). `#[room]` checks that the allowed ones are valid.

/// The allowed origins of a room, with the code that compares them: a room without the option does not contain it.
#[derive(Clone, Copy)]
pub(crate) struct Origins {
    list: &'static [&'static str],
    allows: fn(&[&str], &str) -> bool,
}

/// The header with the origin of the page that sends a request.
pub(crate) const ORIGIN_HEADER: &str = "origin";

/// The body of the 403.
pub(crate) const NOT_ALLOWED: &str = "a page of this origin may not open a WebSocket to this room";

impl Origins {
    /// The restriction of a room; none for an empty list.
    pub(crate) const fn of(list: &'static [&'static str]) -> Option<Self> {
        if list.is_empty() { None } else { Some(Origins { list, allows }) }
    }

    /// Returns whether a request with this header is allowed. A client without the header is not a page.
    pub(crate) fn allow(self, header: Option<&str>) -> bool {
        header.is_none_or(|origin| (self.allows)(self.list, origin))
    }
}

/// The scheme, the host and the port of an origin.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<&'a str>,
}

fn allows(list: &[&str], origin: &str) -> bool {
    list.iter().any(|allowed| match (split(allowed), split(origin)) {
        (Some(allowed), Some(origin)) => {
            allowed.scheme.eq_ignore_ascii_case(origin.scheme)
                && allowed.port == origin.port
                && is_host(allowed.host, origin.host)
        }
        (None, None) => *allowed == "null" && origin == "null",
        _ => false,
    })
}

/// Compares a host with an allowed one, in which a first label `*` stands for any one label.
fn is_host(allowed: &str, host: &str) -> bool {
    match allowed.strip_prefix("*.") {
        Some(base) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(base))
        }
        None => allowed.eq_ignore_ascii_case(host),
    }
}

/// Splits an origin. The default port of the scheme counts as a port.
fn split(origin: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = origin.split_once("://")?;
    let (host, port) = match rest.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let default = || match () {
        () if scheme.eq_ignore_ascii_case("https") => Some("443"),
        () if scheme.eq_ignore_ascii_case("http") => Some("80"),
        () => None,
    };
    Some(Parts { scheme, host, port: port.or_else(default) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[&str] = &[
        "https://example.com",
        "http://localhost:8787",
        "https://*.example.org",
        "http://[::1]:3000",
        "HTTP://Upper.example:80",
        "chrome-extension://abc",
    ];

    fn allowed(list: &'static [&'static str], origin: &str) -> bool {
        Origins::of(list).is_none_or(|origins| origins.allow(Some(origin)))
    }

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        for origin in [
            "https://example.com",
            "https://example.com:443",
            "HTTPS://EXAMPLE.com",
            "http://localhost:8787",
            "https://a.example.org",
            "https://A.Example.ORG:443",
            "http://[::1]:3000",
            "http://upper.example",
            "chrome-extension://abc",
        ] {
            assert!(allowed(LIST, origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "example.com",
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.",
            "https://example.com/",
            "https://example.com.evil.com",
            "https://evil.com/https://example.com",
            "https://evil.com#example.com",
            "https://user@example.com",
            "https://evilexample.com",
            "https://example.com, https://example.com",
            "https://example.com https://evil.com",
            "https://example.org",
            "https://.example.org",
            "https://a.b.example.org",
            "https://a.example.org:8443",
            "https://evil.com/.example.org",
            "https://*.example.org.evil.com",
            "http://localhost",
            "http://localhost:87870",
            "http://[::1]",
            "chrome-extension://abcd",
        ] {
            assert!(!allowed(LIST, origin), "{origin}");
        }
    }

    #[test]
    fn null_is_allowed_only_if_it_is_listed() {
        assert!(allowed(&["null"], "null"));
        assert!(!allowed(&["null"], "https://example.com"));
        assert!(!allowed(&["null"], "NULL"));
        assert!(!allowed(&["https://null"], "null"));
    }

    #[test]
    fn a_client_without_an_origin_is_not_restricted() {
        assert!(Origins::of(LIST).is_some_and(|origins| origins.allow(None)));
        assert!(Origins::of(&[]).is_none());
    }
}
