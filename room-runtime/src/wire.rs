//! What goes over the wire and into storage, as bytes: frames, what is kept with a socket, and the Worker's commands.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    DecodeError, Error, ErrorKind, Failure, Limits, OnDuplicate, OnResume, PeerId, RoomId, depth, error::Refused,
    platform::OwnedFrame, report::brief, round_trip::RoundTrip,
};

/// An error of the runtime as a text frame, `{"$room": {"error": {"code": "…", "message": "…"}}}`. No envelope of a room's own
/// messages starts with `$room`, since serde cannot give a variant a field of that name by default.
pub(crate) fn error_frame(code: ErrorKind, message: &str, retry_after_ms: Option<u64>) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        #[serde(rename = "$room")]
        room: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        error: FrameError<'a>,
    }
    #[derive(Serialize)]
    struct FrameError<'a> {
        code: ErrorKind,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    let report = Report { room: Body { error: FrameError { code, message, retry_after_ms } } };
    // Strings and a number, no map: this cannot fail.
    serde_json::to_string(&report).unwrap_or_default()
}

/// The WebSocket subprotocol of clients that take several messages in one frame: each text frame from the room is then a
/// JSON array of messages, in order, also when there is just one. What the client sends is the same as without it.
///
/// A room speaks it with every client that offers it, unless [another](crate::Upgrade::protocol) of those that the client
/// offers is chosen.
pub const SUBPROTOCOL: &str = "room.v1";

/// Messages as one frame of [`SUBPROTOCOL`].
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn packed(messages: &[String]) -> String {
    format!("[{}]", messages.join(","))
}

/// The token by which a peer keeps its place if it comes back in time, `{"$room": {"resume": "…"}}`.
pub(crate) fn resume_frame(token: &str) -> String {
    // A token is hexadecimal digits.
    format!(r#"{{"$room":{{"resume":"{token}"}}}}"#)
}

/// One event out of one frame.
pub(crate) fn decode_frame<T: DeserializeOwned>(frame: OwnedFrame) -> Result<T, DecodeError> {
    match frame {
        OwnedFrame::Text(text) => decode_event(&text).map_err(|error| DecodeError::malformed(error, text)),
        OwnedFrame::Binary(bytes) => Err(DecodeError::binary(bytes.len())),
    }
}

/// One event.
pub(crate) fn decode_event<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    const MAX_DEPTH: u8 = Limits::MAX_EVENT_DEPTH;
    // Each level has two brackets: most frames are too short to be measured.
    if text.len() / 2 <= usize::from(MAX_DEPTH) {
        return serde_json::from_str(text);
    }
    // Also where serde_json looks at no depth, as in what it skips.
    depth::measured(text, MAX_DEPTH, || serde_json::from_str(text))
}

/// An event as the text of one frame, or of a command.
pub(crate) fn encode_event<T: Serialize>(event: &T) -> Result<String, Error> {
    let text = serde_json::to_string(&RoundTrip::within(event, Limits::MAX_EVENT_DEPTH));
    text.map_err(|error| encode_error("the event", &error))
}

/// A broadcast as the text of one frame.
pub(crate) fn encode_frame<T: Serialize>(message: &T) -> Result<String, Error> {
    serde_json::to_string(&RoundTrip::new(message)).map_err(|error| encode_error("the message", &error))
}

/// The Worker's half of an upgrade.
pub(crate) fn encode_upgrade<C: Serialize>(options: &UpgradeOptions<C>) -> Result<String, Error> {
    serde_json::to_string(&RoundTrip::new(options)).map_err(|error| encode_error("the upgrade", &error))
}

/// What the Worker gives a peer to say once.
pub(crate) fn encode_meta<T: Serialize + ?Sized>(meta: &T) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(&RoundTrip::new(meta)).map_err(|error| encode_error("the peer's meta", &error))
}

/// The answer to a command. What is in it was refused when it was written, if it is nested too deeply; around it there are
/// three levels at most.
pub(crate) fn encode_reply<T: Serialize>(reply: &Reply<T>) -> Result<String, Error> {
    const MAX_DEPTH: u8 = Limits::MAX_DEPTH + 3;
    serde_json::to_string(&RoundTrip::within(reply, MAX_DEPTH)).map_err(|error| encode_error("the answer", &error))
}

/// A stored value.
pub(crate) fn encode_value<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&RoundTrip::new(value)).map_err(|error| encode_error(what, &error))
}

/// A part of a stored value, encoded by itself: so many levels are going to be around it.
pub(crate) fn encode_raw<T: Serialize + ?Sized>(value: &T, around: u8, what: &str) -> Result<Box<RawValue>, Error> {
    let limited = RoundTrip::within(value, Limits::MAX_DEPTH - around);
    serde_json::value::to_raw_value(&limited).map_err(|error| encode_error(what, &error))
}

pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    // As text, like the frames: serde_json is another one for bytes, and a room would contain both.
    let text = str::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Decode, format!("{what} does not decode: it is not UTF-8, {error}")).because(error)
    })?;
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Decode, format!("{what} does not decode: {}", brief(&error))).because(error)
    })
}

fn encode_error(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("{what} cannot be written as JSON: {}", brief(error)))
}

/// What is kept with a socket: the peer's id, when it connected, its data, the name of its entry in the roster, and how often
/// it had come back when it got this socket. A tuple, because every byte counts against the platform's cap.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attachment<I, C, E>(pub(crate) I, pub(crate) u64, pub(crate) C, pub(crate) E, pub(crate) u32);

/// What the Worker's client asks of a room, as one text over RPC: a word, a space and what it takes. What is not asked for
/// is not decoded, and the code for it is small: every room has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// The JSON of an event.
    Send(&'a str),
    State,
    /// All, or those that carry this tag.
    Peers(Option<&'a str>),
    /// A frame: the JSON of a broadcast, which is sent as it is.
    Broadcast(&'a str),
    FireAlarm,
    /// A command that is carried out once, however often it comes with this key.
    Once {
        key: &'a str,
        command: &'a str,
    },
    /// The Worker's half of an upgrade, the JSON of [`UpgradeOptions`]; the request that carries the ticket is the other
    /// half.
    Prepare {
        ticket: &'a str,
        upgrade: &'a str,
    },
}

impl<'a> Command<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "send" => Command::Send(rest),
            "state" => Command::State,
            "peers" => Command::Peers(None),
            "tagged" => Command::Peers(Some(rest)),
            "broadcast" => Command::Broadcast(rest),
            "fire_alarm" => Command::FireAlarm,
            "once" => {
                // A key may have spaces.
                let (length, rest) = rest.split_once(' ')?;
                let (key, rest) = rest.split_at_checked(length.parse().ok()?)?;
                Command::Once { key, command: rest.strip_prefix(' ')? }
            }
            "prepare" => {
                let (ticket, upgrade) = rest.split_once(' ')?;
                Command::Prepare { ticket, upgrade }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Send(event) => write!(f, "send {event}"),
            Command::State => f.write_str("state"),
            Command::Peers(None) => f.write_str("peers"),
            Command::Peers(Some(tag)) => write!(f, "tagged {tag}"),
            Command::Broadcast(message) => write!(f, "broadcast {message}"),
            Command::FireAlarm => f.write_str("fire_alarm"),
            Command::Once { key, command } => write!(f, "once {} {key} {command}", key.len()),
            Command::Prepare { ticket, upgrade } => write!(f, "prepare {ticket} {upgrade}"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UpgradeOptions<C> {
    pub(crate) data: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) on_duplicate: OnDuplicate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<String>,
    #[serde(default)]
    pub(crate) on_resume: OnResume,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
}

/// The room's answer to a command: the value, or an error that keeps its kind.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply<T> {
    Ok(T),
    Err(WireError),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireError {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    /// The JSON of the message that a handler refused with, as a string: what reads it knows its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Box<str>>,
    /// The HTTP status of a refusal, where it is not that of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl WireError {
    /// An error that a handler returned.
    pub(crate) fn of_handler(handler: &str, failure: &Failure) -> Self {
        let error = match failure.downcast_ref::<Error>() {
            Some(error) => WireError::from(error),
            None => WireError {
                kind: failure.kind(),
                message: failure.to_string(),
                room: None,
                peer: None,
                handler: None,
                refusal: failure.as_refused().and_then(Refused::message).map(Into::into),
                status: failure.as_refused().and_then(|refused| own_status(ErrorKind::Refused, refused.status())),
            },
        };
        // One that came from another room has the handler of that room.
        WireError { handler: error.handler.or_else(|| Some(handler.to_owned())), ..error }
    }

    pub(crate) fn into_error(self) -> Error {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        let error = Error::new(self.kind, self.message).with_refusal(self.refusal).with_status(status);
        let error = match self.handler {
            Some(handler) => error.by_handler(handler),
            None => error,
        };
        // Not always the room that was called: it may pass on what another said.
        let error = match self.room {
            Some(room) => error.in_room(&room),
            None => error,
        };
        match self.peer {
            Some(peer) => error.of_peer(&peer),
            None => error,
        }
    }
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        WireError {
            kind: error.kind(),
            message: error.message().to_owned(),
            room: error.room().cloned(),
            peer: error.peer().cloned(),
            handler: error.handler().map(str::to_owned),
            refusal: error.refusal_json().map(Into::into),
            status: own_status(error.kind(), error.status()),
        }
    }
}

/// A status that the kind does not say already.
fn own_status(kind: ErrorKind, status: StatusCode) -> Option<u16> {
    (status != kind.status()).then(|| status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_frame_is_json_with_the_text_escaped() {
        let frame = error_frame(ErrorKind::Decode, "unknown variant `\"<b>\"`\n", None);
        assert_eq!(frame, r#"{"$room":{"error":{"code":"decode","message":"unknown variant `\"<b>\"`\n"}}}"#);
        let frame = error_frame(ErrorKind::RateLimited, "slow down", Some(250));
        assert_eq!(frame, r#"{"$room":{"error":{"code":"rate_limited","message":"slow down","retry_after_ms":250}}}"#);
    }

    #[test]
    fn a_command_reads_back() {
        let send = Command::Send(r#"{"type":"Say","text":"a b"}"#).to_string();
        for command in [
            Command::Send("null"),
            Command::State,
            Command::Peers(None),
            Command::Peers(Some("")),
            Command::Peers(Some(" two words ")),
            Command::Broadcast("[1, 2]"),
            Command::FireAlarm,
            Command::Once { key: "a ké y", command: &send },
            Command::Prepare { ticket: "abc", upgrade: r#"{"data": {}}"# },
        ] {
            assert_eq!(Command::parse(&command.to_string()), Some(command));
        }
        for text in
            ["", " ", "what", "once", "once 9 k send", "once 1 ké", "once x k send", "once 1 ksend", "prepare x"]
        {
            assert_eq!(Command::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_attachment_reads_back() {
        let id = PeerId::from("al\"ice");
        let bytes = encode_value(&Attachment(&id, 7, "data", "x", 2), "it").expect("encodes");
        assert_eq!(bytes, br#"["al\"ice",7,"data","x",2]"#);
        let read = decode_value::<Attachment<PeerId, String, String>>(&bytes, "it").expect("decodes");
        let Attachment(id, at, data, entry, generation) = read;
        assert_eq!((id.as_str(), at, &*data, &*entry, generation), ("al\"ice", 7, "data", "x", 2));
    }
}
