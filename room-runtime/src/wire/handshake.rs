//! The WebSocket handshake (RFC 6455), its subprotocols, and the tags that the platform stores with a socket.

use super::{SUBPROTOCOL, SUBPROTOCOL_MSGPACK};
use crate::{Codec, Error, ErrorKind};

/// The request of an upgrade, as the client sent it.
pub(crate) trait Handshake {
    fn head(&self) -> Result<http::Request<()>, Error>;

    /// The subprotocols that the client offers. They are separate from the rest because every upgrade needs them.
    fn protocols(&self) -> Vec<String>;

    /// The header [`ADDRESS_HEADER`], in a room that limits the rate of an address.
    fn address(&self) -> Option<String>;
}

/// The header in which Cloudflare states the client's address. Cloudflare replaces a header of that name from a client.
pub(crate) const ADDRESS_HEADER: &str = "cf-connecting-ip";

/// Returns the subprotocols from the values of `sec-websocket-protocol`, in the client's order of preference. The
/// header can occur several times, with several names in each (RFC 6455, 11.3.4).
pub(crate) fn parse_protocols<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let names = values.into_iter().flat_map(|value| value.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The reason why no subprotocol is chosen.
#[derive(Debug)]
pub(crate) enum NoProtocol {
    /// None of the client's subprotocols was chosen. The text is the body of the 400.
    Refused(String),
    /// The Worker, or `on_upgrade`, chose a subprotocol that the client does not offer.
    Invalid(Error),
}

/// Returns whether a client with this subprotocol speaks MessagePack, in a room with these codecs.
pub(crate) fn speaks_message_pack(protocol: Option<&str>, codecs: &[Codec]) -> bool {
    match protocol {
        Some(SUBPROTOCOL) => false,
        Some(SUBPROTOCOL_MSGPACK) => true,
        Some(name) if codecs.iter().any(|codec| codec.protocol() == name) => name == Codec::MessagePack.protocol(),
        _ => Codec::begins_with_message_pack(codecs),
    }
}

/// Chooses the subprotocol for the answer to a handshake; `None` for a client that offers none.
///
/// Without a choice of the room's own it is the client's first offer of `room.v1` in a codec of the room, or else its first
/// offer of a codec.
pub(crate) fn choose_protocol(
    offered: &[String],
    chosen: Option<String>,
    codecs: &[Codec],
) -> Result<Option<String>, NoProtocol> {
    let offers = |wanted: &str| offered.iter().any(|name| name == wanted);
    match chosen {
        Some(chosen) if offers(&chosen) => Ok(Some(chosen)),
        Some(chosen) => {
            let message = match offered {
                [] => format!("the WebSocket subprotocol `{chosen}` was chosen, and the client offers none"),
                _ => {
                    format!("the WebSocket subprotocol `{chosen}` was chosen, and the client offers {}", list(offered))
                }
            };
            Err(NoProtocol::Invalid(Error::new(ErrorKind::InvalidProtocol, message)))
        }
        None if offered.is_empty() => Ok(None),
        None => {
            let is_codec = |name: &&String| codecs.iter().any(|codec| codec.protocol() == **name);
            let own = offered.iter().find(|name| is_v1_of(name, codecs)).or_else(|| offered.iter().find(is_codec));
            own.cloned().map(Some).ok_or_else(|| {
                NoProtocol::Refused(format!(
                    "this client offers the WebSocket subprotocols {}, and the room answers with none of them: choose one \
                     with `Upgrade::protocol`, or in `on_upgrade`",
                    list(offered)
                ))
            })
        }
    }
}

fn is_v1_of(name: &str, codecs: &[Codec]) -> bool {
    let codec = match name {
        SUBPROTOCOL => Codec::Json,
        SUBPROTOCOL_MSGPACK => Codec::MessagePack,
        _ => return false,
    };
    codecs.contains(&codec)
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The answer to a request that is no WebSocket handshake: its status, its text, and a header with the expected value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoHandshake {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    pub(crate) header: Option<(&'static str, &'static str)>,
}

/// Checks that a request is a WebSocket handshake (RFC 6455, 4.2.1). The platform checks it too late, after the room
/// has accepted the peer. Like the platform, this accepts any `connection` header.
///
/// A request of another Worker, over a service binding or in a test, has neither key nor version, because the platform
/// needs them only over HTTP. A request over HTTP always has a `host`.
pub(crate) fn check_handshake(
    method: &str,
    header: impl Fn(&'static str) -> Option<String>,
) -> Result<(), NoHandshake> {
    let refuse = |status, text, header| Err(NoHandshake { status, text, header });
    if !header("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        let text = "this is a WebSocket: send an upgrade request";
        return refuse(426, text, Some(("upgrade", "websocket")));
    }
    if method != "GET" {
        return refuse(400, "a WebSocket is opened with GET", Some(("allow", "GET")));
    }
    let is_over_http = header("host").is_some();
    match header("sec-websocket-version") {
        Some(version) if version.trim() == "13" => {}
        None if !is_over_http => {}
        _ => {
            let text = "the version of a WebSocket is 13: send `sec-websocket-version: 13`";
            return refuse(426, text, Some(("sec-websocket-version", "13")));
        }
    }
    match header("sec-websocket-key") {
        Some(key) if is_key(key.trim()) => {}
        None if !is_over_http => {}
        _ => return refuse(400, "a WebSocket's `sec-websocket-key` is 16 bytes in base64", None),
    }
    // The bytes of a body would be read as frames.
    let has_length = header("content-length").is_some_and(|length| length.trim() != "0");
    if has_length || header("transfer-encoding").is_some() {
        return refuse(400, "a WebSocket is opened with a request without a body", None);
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.strip_suffix("==").is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_digit))
}

/// The mark of a peer's id among the tags that the platform stores.
pub(crate) const ID_MARK: char = '=';
/// The mark of a user's tag, so that no tag can be taken for an id.
pub(crate) const TAG_MARK: char = '#';

pub(crate) fn id_tag(id: &str) -> String {
    format!("{ID_MARK}{id}")
}

pub(crate) fn user_tag(tag: &str) -> String {
    format!("{TAG_MARK}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_is_read_from_one_header_or_several() {
        let offers = |values: &[&str]| parse_protocols(values.iter().copied());
        assert_eq!(offers(&["bearer, t0ken", "chat"]), ["bearer", "t0ken", "chat"]);
        assert_eq!(offers(&["\troom.v1 ,,x", ""]), ["room.v1", "x"]);
        assert!(offers(&[]).is_empty() && offers(&[" , "]).is_empty());
    }

    #[test]
    fn a_handshake_is_answered_with_a_subprotocol_that_was_offered_or_not_at_all() {
        let choose_of = |codecs: &[Codec], offered: &[&str], chosen: Option<&str>| {
            let offered: Vec<_> = offered.iter().map(|name| (*name).to_owned()).collect();
            choose_protocol(&offered, chosen.map(str::to_owned), codecs).map_err(|none| match none {
                NoProtocol::Refused(text) => (400, text),
                NoProtocol::Invalid(error) => (0, format!("{} {}", error.kind(), error.message())),
            })
        };
        let choose = |offered: &[&str], chosen: Option<&str>| choose_of(&[Codec::Json], offered, chosen);
        assert_eq!(choose(&[], None), Ok(None));
        assert_eq!(choose(&["chat", "room.v1"], None), Ok(Some("room.v1".to_owned())));
        assert_eq!(choose(&["room.v1", "bearer"], Some("bearer")), Ok(Some("bearer".to_owned())));
        assert_eq!(choose(&["room.v1"], Some("room.v1")), Ok(Some("room.v1".to_owned())));
        for others in [&["room.v10"][..], &["Room.v1", "room.v1;q=1"]] {
            let (status, text) = choose(others, None).expect_err("none of them is ours");
            assert_eq!(status, 400);
            assert!(others.iter().all(|name| text.contains(name)) && text.contains("Upgrade::protocol"), "{text}");
        }
        for (offered, what) in [(&[][..], "offers none"), (&["a", "b"], "offers `a`, `b`")] {
            let (_, text) = choose(offered, Some("bearer")).expect_err("it was not offered");
            assert!(
                text.starts_with("invalid_protocol ") && text.contains("`bearer`") && text.contains(what),
                "{text}"
            );
        }
    }

    #[test]
    fn a_client_chooses_a_codec_by_its_subprotocol() {
        use Codec::{Json, MessagePack};
        for (codecs, offered, chosen, is_packed) in [
            (&[Json][..], &["room.json"][..], Some("room.json"), false),
            (&[Json], &["room.msgpack", "room.json"], Some("room.json"), false),
            (&[Json, MessagePack], &["room.msgpack", "room.json"], Some("room.msgpack"), true),
            (&[Json, MessagePack], &["room.json", "room.msgpack"], Some("room.json"), false),
            (&[MessagePack, Json], &["room.msgpack", "room.v1"], Some("room.v1"), false),
            (&[MessagePack], &["room.v1", "room.msgpack"], Some("room.msgpack"), true),
            (&[MessagePack], &["room.v1", "room.v1.msgpack"], Some("room.v1.msgpack"), true),
            (&[Json, MessagePack], &["room.v1", "room.v1.msgpack"], Some("room.v1"), false),
            (&[Json, MessagePack], &["room.msgpack", "room.v1.msgpack"], Some("room.v1.msgpack"), true),
            (&[MessagePack], &[], None, true),
            (&[Json, MessagePack], &[], None, false),
        ] {
            let names: Vec<_> = offered.iter().map(|name| (*name).to_owned()).collect();
            let found = choose_protocol(&names, None, codecs).expect("a subprotocol is chosen");
            assert_eq!(found.as_deref(), chosen, "{codecs:?} {offered:?}");
            assert_eq!(speaks_message_pack(chosen, codecs), is_packed, "{codecs:?} {offered:?}");
        }
        assert!(choose_protocol(&["room.msgpack".to_owned()], None, &[Json]).is_err());
        // Another subprotocol of the room's own leaves the first codec.
        assert!(speaks_message_pack(Some("bearer"), &[MessagePack, Json]));
        assert!(!speaks_message_pack(Some("room.msgpack"), &[Json]));
    }

    #[test]
    fn a_request_is_a_handshake_when_it_has_all_that_one_needs() {
        const WHOLE: [(&str, &str); 4] = [
            ("host", "h"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let check = |method: &str, changed: &[(&str, Option<&str>)]| {
            let header = |name: &'static str| {
                let changed = changed.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
                let whole = || WHOLE.iter().find(|(whole, _)| *whole == name).map(|(_, value)| *value);
                changed.unwrap_or_else(whole).map(str::to_owned)
            };
            check_handshake(method, header).map_err(|refused| (refused.status, refused.header))
        };
        let version = Some(("sec-websocket-version", "13"));
        let from_a_worker = [("host", None), ("sec-websocket-version", None), ("sec-websocket-key", None)];
        for (changed, expected) in [
            (&[][..], Ok(())),
            (&[("content-length", Some("0"))], Ok(())),
            (&from_a_worker, Ok(())),
            (&from_a_worker[1..], Err((426, version))),
            (&[("upgrade", None)], Err((426, Some(("upgrade", "websocket"))))),
            (&[("upgrade", Some("h2c"))], Err((426, Some(("upgrade", "websocket"))))),
            (&[("sec-websocket-version", Some("8"))], Err((426, version))),
            (&[("sec-websocket-version", Some("8, 13"))], Err((426, version))),
            (&[("host", None), ("sec-websocket-version", Some("8"))], Err((426, version))),
            (&[("sec-websocket-key", None)], Err((400, None))),
            (&[("sec-websocket-key", Some(""))], Err((400, None))),
            (&[("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ="))], Err((400, None))),
            (&[("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25j=Q=="))], Err((400, None))),
            (&[("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZWQ="))], Err((400, None))),
            (&[("content-length", Some("1"))], Err((400, None))),
            (&[("transfer-encoding", Some("chunked"))], Err((400, None))),
        ] {
            assert_eq!(check("GET", changed), expected, "{changed:?}");
        }
        for method in ["HEAD", "POST", "PUT", "OPTIONS", "get"] {
            assert_eq!(check(method, &[]), Err((400, Some(("allow", "GET")))), "{method}");
        }
    }
}
