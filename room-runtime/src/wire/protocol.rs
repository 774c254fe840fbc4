//! The protocol `room.v1`, which docs/protocol.md describes: the frames of its clients, and the controls of the room.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{OwnedFrame, is_ticket};

/// The WebSocket subprotocol of clients that number their events and resume their sessions, in JSON.
///
/// A room uses it with every client that offers it, unless [another](crate::Upgrade::protocol) offered subprotocol is
/// chosen. `docs/protocol.md` describes its frames.
pub const SUBPROTOCOL: &str = "room.v1";

/// The WebSocket subprotocol [`SUBPROTOCOL`] in [MessagePack](crate::Codec::MessagePack), in rooms with that codec.
pub const SUBPROTOCOL_MSGPACK: &str = "room.v1.msgpack";

/// The beginning of an offered subprotocol that names a session.
const RESUME: &str = "room.v1.resume.";

/// The most numbers of a session without an outcome. The room keeps as many outcomes.
pub(crate) const WINDOW: u64 = 64;

/// The largest number: the largest integer that a JavaScript number holds exactly.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Returns whether a client with this subprotocol speaks `room.v1`.
pub(crate) fn is_v1(protocol: Option<&str>) -> bool {
    matches!(protocol, Some(SUBPROTOCOL | SUBPROTOCOL_MSGPACK))
}

/// The session that a client offers to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResumeOffer {
    pub(crate) token: String,
    /// The lowest number whose outcome the client does not know.
    pub(crate) from: u64,
    /// The last position that the client has received.
    pub(crate) at: u64,
}

impl ResumeOffer {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(RESUME)?.split('.');
        let (token, from, at) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && is_ticket(token);
        let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_NUMBER);
        let offer = ResumeOffer { token: token.to_ascii_lowercase(), from: number(from)?, at: number(at)? };
        is_whole.then_some(offer)
    }
}

/// Takes the offer to resume out of the offered subprotocols. It contains a secret, so no handler and no error sees it.
pub(crate) fn take_resume_offer(protocols: &mut Vec<String>) -> Option<ResumeOffer> {
    let mut offer = None;
    protocols.retain(|name| {
        let is_offer = name.starts_with(RESUME);
        if is_offer && offer.is_none() {
            offer = ResumeOffer::parse(name);
        }
        !is_offer
    });
    offer
}

/// A frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientFrame {
    /// An event; 0 stands for no number.
    Event { number: u64, event: OwnedFrame },
    /// A call of a function, with its arguments.
    Call { number: u64, name: String, arguments: OwnedFrame },
    /// Every number below this one is settled for the client.
    From(u64),
}

impl ClientFrame {
    /// Parses the frame around an event or around the arguments of a call, which stay undecoded. A frame of another form is
    /// given back.
    pub(crate) fn parse(frame: OwnedFrame) -> Result<Self, OwnedFrame> {
        match frame {
            OwnedFrame::Text(text) => parse_text(text).map_err(OwnedFrame::Text),
            OwnedFrame::Binary(bytes) => parse_bytes(bytes).map_err(OwnedFrame::Binary),
        }
    }
}

/// Returns the number of a frame of a client; 0 for none.
pub(crate) fn number_of(frame: &OwnedFrame) -> u64 {
    match frame {
        OwnedFrame::Text(text) => {
            number_in(json_trim_start(text).strip_prefix('[').unwrap_or("")).map_or(0, |(number, _)| number)
        }
        OwnedFrame::Binary(bytes) => match &**bytes {
            [0x92 | 0x93, rest @ ..] => unpack_number(rest).map_or(0, |(number, _)| number),
            _ => 0,
        },
    }
}

/// Returns whether a frame of a client only says what is settled for the client.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_settlement(frame: &OwnedFrame) -> bool {
    match frame {
        OwnedFrame::Text(text) => text.starts_with('{'),
        OwnedFrame::Binary(bytes) => bytes.first() == Some(&0x81),
    }
}

/// The characters that JSON allows around values. Unicode has more.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn json_trim_start(text: &str) -> &str {
    text.trim_start_matches(JSON_SPACE)
}

fn json_trim_end(text: &str) -> &str {
    text.trim_end_matches(JSON_SPACE)
}

/// Parses a number and the comma after it. Returns it with the rest of the text.
fn number_in(text: &str) -> Option<(u64, &str)> {
    let text = json_trim_start(text);
    let (digits, rest) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let number = digits.parse().ok().filter(|number| *number <= MAX_NUMBER)?;
    let rest = json_trim_start(rest).strip_prefix(',')?;
    Some((number, json_trim_start(rest)))
}

/// Parses the name of a function and the comma after it. An event that is a string has no comma after it.
fn name_in(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let (name, rest) = text.split_at_checked(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?)?;
    let rest = json_trim_start(rest.strip_prefix('"')?).strip_prefix(',')?;
    Some((name, json_trim_start(rest)))
}

fn parse_text(mut text: String) -> Result<ClientFrame, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct From {
        from: u64,
    }

    if text.starts_with('{') {
        return serde_json::from_str(&text).map(|From { from }| ClientFrame::From(from)).map_err(|_| text);
    }
    let begin = json_trim_start(&text);
    let Some((number, rest)) = begin.strip_prefix('[').and_then(number_in) else { return Err(text) };
    let Some(inner) = json_trim_end(rest).strip_suffix(']').map(json_trim_end) else { return Err(text) };
    let (name, inner) = match name_in(inner) {
        Some((name, arguments)) => (Some(name.to_owned()), arguments),
        None => (None, inner),
    };
    // The event is moved to the front of the text, which costs no allocation.
    let at = inner.as_ptr() as usize - text.as_ptr() as usize;
    let end = at + inner.len();
    text.truncate(end);
    text.drain(..at);
    let inner = OwnedFrame::Text(text);
    Ok(match name {
        Some(name) => ClientFrame::Call { number, name, arguments: inner },
        None => ClientFrame::Event { number, event: inner },
    })
}

fn parse_bytes(mut bytes: Vec<u8>) -> Result<ClientFrame, Vec<u8>> {
    if let Some(number) = bytes.strip_prefix(b"\x81\xa4from") {
        return match unpack_number(number) {
            Some((number, [])) => Ok(ClientFrame::From(number)),
            _ => Err(bytes),
        };
    }
    let (is_call, rest) = match &*bytes {
        [0x92, rest @ ..] => (false, rest),
        [0x93, rest @ ..] => (true, rest),
        _ => return Err(bytes),
    };
    let Some((number, rest)) = unpack_number(rest) else { return Err(bytes) };
    let (name, rest) = match is_call {
        true => match unpack_name(rest) {
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => return Err(bytes),
        },
        false => (None, rest),
    };
    let at = bytes.len() - rest.len();
    bytes.drain(..at);
    let inner = OwnedFrame::Binary(bytes);
    Ok(match name {
        Some(name) => ClientFrame::Call { number, name, arguments: inner },
        None => ClientFrame::Event { number, event: inner },
    })
}

/// Reads a whole number of MessagePack. JavaScript encoders write large ones as floats, and others write all as signed.
fn unpack_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let size = match first {
        0..=0x7f => return Some((u64::from(*first), rest)),
        0xcc | 0xd0 => 1,
        0xcd | 0xd1 => 2,
        0xce | 0xd2 => 4,
        0xcf | 0xd3 | 0xcb => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(size)?;
    let is_negative = digits.first().is_some_and(|first| *first > 0x7f);
    let bits = digits.iter().fold(0, |number, digit| (number << 8) | u64::from(*digit));
    let number = match first {
        0xd0..=0xd3 if is_negative => return None,
        0xcb => {
            let float = f64::from_bits(bits);
            let number = float as u64;
            (number as f64 == float).then_some(number)?
        }
        _ => bits,
    };
    (number <= MAX_NUMBER).then_some((number, rest))
}

fn unpack_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = match first {
        0xa0..=0xbf => (usize::from(first & 0x1f), rest),
        0xd9 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        _ => return None,
    };
    let (name, rest) = rest.split_at_checked(length)?;
    Some((str::from_utf8(name).ok()?, rest))
}

/// The largest result of a call, in bytes of JSON. An answer is stored with its number, and Cloudflare stores 2 MB under one
/// key.
pub(crate) const MAX_ANSWER_BYTES: usize = 1_000_000;

/// The arguments of a call, undecoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments<'a> {
    Json(&'a str),
    Packed(&'a [u8]),
}

/// The answer of a function: its value, or an error of its own type.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Value(Box<RawValue>),
    Error(Box<RawValue>),
}

impl Answer {
    /// Returns the control for the client of `room.v1` that called.
    pub(crate) fn into_control(self, number: u64) -> String {
        let (key, json) = match &self {
            Answer::Value(json) => ("value", json),
            Answer::Error(json) => ("error", json),
        };
        format!("{{\"answer\":{{\"n\":{number},\"{key}\":{}}}}}", json.get())
    }
}

/// The first control of a connection.
#[derive(Debug, Serialize)]
pub(crate) struct Welcome<'a> {
    pub(crate) session: &'a str,
    pub(crate) resumed: bool,
    pub(crate) last: u64,
    pub(crate) window: u64,
    pub(crate) gap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    pub(crate) heartbeat: (&'a str, &'a str),
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
}

impl Welcome<'_> {
    pub(crate) fn into_control(self) -> String {
        // Strings, numbers and flags are always serializable.
        format!("{{\"welcome\":{}}}", serde_json::to_string(&self).unwrap_or_default())
    }
}

/// Returns the control that settles every number up to this one.
pub(crate) fn ack_control(number: u64) -> String {
    format!("{{\"ack\":{number}}}")
}

/// Returns the control with the position up to which the client has got everything.
pub(crate) fn at_control(position: u64) -> String {
    format!("{{\"at\":{position}}}")
}

/// Returns the control that asks for this number and all later ones.
pub(crate) fn resend_control(number: u64) -> String {
    format!("{{\"resend\":{number}}}")
}

/// Returns a frame of the room in JSON: a list of its controls, and its messages.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn room_frame(controls: &[String], messages: &[String]) -> String {
    let mut frame = format!("[[{}]", controls.join(","));
    for message in messages {
        frame.push(',');
        frame.push_str(message);
    }
    frame.push(']');
    frame
}

/// Returns the frame of a call in MessagePack. The name has at most 255 bytes.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn packed_call(number: u64, name: &str, arguments: &[u8]) -> Vec<u8> {
    let number = [&[0x93, 0xcf][..], &number.to_be_bytes()].concat();
    let name = [&[0xd9, name.len() as u8][..], name.as_bytes()].concat();
    [number, name, arguments.to_vec()].concat()
}

/// Returns a frame of the room in MessagePack.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn packed_room_frame(controls: &[Vec<u8>], messages: &[Vec<u8>]) -> Vec<u8> {
    fn head(length: usize) -> Vec<u8> {
        match u8::try_from(length) {
            Ok(length) if length < 16 => vec![0x90 | length],
            // No memory holds a list whose length has more bits.
            _ => [&[0xdd][..], &(length as u32).to_be_bytes()].concat(),
        }
    }
    let head = [head(1 + messages.len()), head(controls.len())].concat();
    [&[head][..], controls, messages].concat().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> OwnedFrame {
        OwnedFrame::Text(text.to_owned())
    }

    #[test]
    fn a_frame_of_a_client_is_an_event_a_call_or_what_is_settled() {
        let event = |number, event: &str| Ok(ClientFrame::Event { number, event: text(event) });
        let call = |number, name: &str, arguments: &str| {
            Ok(ClientFrame::Call { number, name: name.to_owned(), arguments: text(arguments) })
        };
        for (frame, expected) in [
            (r#"[1,{"type":"Say"}]"#, event(1, r#"{"type":"Say"}"#)),
            (" [ 12 , [1,2] ] ", event(12, "[1,2]")),
            ("[0,7]", event(0, "7")),
            // A string can be an event, also one that looks like a name.
            (r#"[3,"Ping"]"#, event(3, r#""Ping""#)),
            (r#"[3,"a,b\"]"]"#, event(3, r#""a,b\"]""#)),
            (r#"[4,"rename",{"name":"x"}]"#, call(4, "rename", r#"{"name":"x"}"#)),
            (r#"[4, "rename" , {} ]"#, call(4, "rename", "{}")),
            ("[9007199254740991,1]", event(MAX_NUMBER, "1")),
            (r#"{"from":7}"#, Ok(ClientFrame::From(7))),
            // The event is decoded later, and shows then that it is none.
            ("[1,]", event(1, "")),
        ] {
            assert_eq!(ClientFrame::parse(text(frame)), expected, "{frame}");
        }
        for frame in [
            "",
            "[]",
            "[1]",
            "[-1,2]",
            "[01,2]",
            "[1\u{b},2]",
            "\u{a0}[1,2]",
            "[1,2]\u{2028}",
            "[1.5,2]",
            "[9007199254740992,1]",
            r#"{"from":-1}"#,
            "{}",
            "[1,2",
            "7",
        ] {
            assert_eq!(ClientFrame::parse(text(frame)), Err(text(frame)), "{frame}");
        }
    }

    #[test]
    fn a_frame_of_a_client_in_messagepack_has_the_same_parts() {
        let parse = |bytes: &[u8]| ClientFrame::parse(OwnedFrame::Binary(bytes.to_vec())).ok();
        let event =
            |number, event: &[u8]| Some(ClientFrame::Event { number, event: OwnedFrame::Binary(event.to_vec()) });
        assert_eq!(parse(b"\x92\x05\xa4Ping"), event(5, b"\xa4Ping"));
        assert_eq!(parse(b"\x92\xcd\x01\x00\xc0"), event(256, b"\xc0"));
        let large = (1_u64 << 40).to_be_bytes();
        assert_eq!(parse(&[b"\x92\xcf", &large[..], b"\xc0"].concat()), event(1 << 40, b"\xc0"));
        let float = (2_f64).powi(40).to_be_bytes();
        assert_eq!(parse(&[b"\x92\xcb", &float[..], b"\xc0"].concat()), event(1 << 40, b"\xc0"));
        assert_eq!(parse(b"\x81\xa4from\x07"), Some(ClientFrame::From(7)));
        for signed in [&b"\xd0\x05"[..], b"\xd1\0\x05", b"\xd2\0\0\0\x05", b"\xd3\0\0\0\0\0\0\0\x05"] {
            assert_eq!(parse(&[b"\x92", signed, b"\xc0"].concat()), event(5, b"\xc0"));
        }
        let call =
            ClientFrame::Call { number: 6, name: "rename".to_owned(), arguments: OwnedFrame::Binary(b"\x80".to_vec()) };
        assert_eq!(parse(b"\x93\x06\xa6rename\x80"), Some(call));
        for wrong in [
            &b""[..],
            b"\x91\x01",
            b"\x92",
            b"\x92\xff\xc0",
            b"\x92\xcd\x01",
            b"\x92\xd0\xff\xc0",
            b"\x92\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xc0",
            b"\x93\x01\x02\x03",
            b"\x81\xa4from\xff",
            b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\xc0",
            b"\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc0",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn the_number_of_a_frame_is_found_without_parsing_the_frame() {
        assert_eq!(number_of(&text(r#"[12,{"type":"#)), 12);
        assert_eq!(number_of(&text("ping")), 0);
        assert_eq!(number_of(&OwnedFrame::Binary(b"\x92\x05".to_vec())), 5);
        assert_eq!(number_of(&OwnedFrame::Binary(Vec::new())), 0);
    }

    #[test]
    fn an_offer_to_resume_is_taken_from_the_subprotocols() {
        let token = "0f".repeat(16);
        let take = |names: &[&str]| {
            let mut names = names.iter().map(|name| (*name).to_owned()).collect();
            let offer = take_resume_offer(&mut names);
            (names, offer)
        };
        let (left, offer) = take(&["room.v1", &format!("room.v1.resume.{token}.7.9"), "bearer"]);
        assert_eq!(left, ["room.v1", "bearer"]);
        assert_eq!(offer, Some(ResumeOffer { token: token.clone(), from: 7, at: 9 }));
        for wrong in ["", "x.1.2", &format!("{token}.1"), &format!("{token}.1.2.3"), &format!("{token}.-1.2")] {
            assert_eq!(take(&[&format!("room.v1.resume.{wrong}")]), (vec![], None), "{wrong}");
        }
    }

    #[test]
    fn a_frame_of_the_room_has_its_controls_before_its_messages() {
        let ack = [ack_control(3)];
        assert_eq!(room_frame(&ack, &[]), r#"[[{"ack":3}]]"#);
        assert_eq!(room_frame(&[], &["1".to_owned(), "2".to_owned()]), "[[],1,2]");
        assert_eq!(room_frame(&ack, &["1".to_owned()]), r#"[[{"ack":3}],1]"#);
    }
}
