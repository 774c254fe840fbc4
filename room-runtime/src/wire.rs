//! What goes over the wire and into storage, as bytes: frames, what is kept with a socket, and the Worker's commands.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{DecodeError, Error, ErrorKind, OnDuplicate, PeerId, RoomId, finite::Finite, platform::OwnedFrame};

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

/// The token by which a peer keeps its place if it comes back in time, `{"$room": {"resume": "…"}}`.
pub(crate) fn resume_frame(token: &str) -> String {
    // A token is hexadecimal digits.
    format!(r#"{{"$room":{{"resume":"{token}"}}}}"#)
}

/// One event out of one frame.
pub(crate) fn decode_frame<T: DeserializeOwned>(frame: OwnedFrame) -> Result<T, DecodeError> {
    match frame {
        OwnedFrame::Text(text) => serde_json::from_str(&text).map_err(|error| DecodeError::malformed(error, text)),
        OwnedFrame::Binary(bytes) => Err(DecodeError::binary(bytes.len())),
    }
}

/// A broadcast as the text of one frame.
pub(crate) fn encode_frame<T: Serialize>(message: &T) -> Result<String, Error> {
    serde_json::to_string(&Finite(message)).map_err(|error| encode_error("the message", &error))
}

/// A stored value.
pub(crate) fn encode_value<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&Finite(value)).map_err(|error| encode_error(what, &error))
}

pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Decode, format!("{what} does not decode: {error}")).because(error))
}

fn encode_error(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("{what} cannot be written as JSON: {error}"))
}

/// What is kept with a socket: the peer's id, when it connected, its data, the name of its entry in the roster. A tuple,
/// because every byte counts against the platform's cap.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attachment<I, C, E>(pub(crate) I, pub(crate) u64, pub(crate) C, pub(crate) E);

/// What the Worker's client asks of a room, as one JSON text over RPC.
///
/// Written with references (`Command<&Event, …>`), read with the room's own types: one definition keeps both sides in
/// step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command<E, B, C> {
    Send(E),
    State,
    Peers {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    },
    Broadcast(B),
    FireAlarm,
    /// A command that is carried out once, however often it comes with this key.
    Once {
        key: String,
        command: Box<Command<E, B, C>>,
    },
    /// The Worker's half of an upgrade; the request that carries the ticket is the other half.
    Prepare {
        ticket: String,
        upgrade: UpgradeOptions<C>,
    },
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
}

impl WireError {
    pub(crate) fn new(kind: ErrorKind, message: String) -> Self {
        WireError { kind, message, room: None, peer: None }
    }

    pub(crate) fn into_error(self) -> Error {
        let error = Error::new(self.kind, self.message);
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
        }
    }
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
    fn an_attachment_reads_back() {
        let id = PeerId::from("al\"ice");
        let bytes = encode_value(&Attachment(&id, 7, "data", "x"), "it").expect("encodes");
        assert_eq!(bytes, br#"["al\"ice",7,"data","x"]"#);
        let read = decode_value::<Attachment<PeerId, String, String>>(&bytes, "it").expect("decodes");
        let Attachment(id, at, data, entry) = read;
        assert_eq!((id.as_str(), at, &*data, &*entry), ("al\"ice", 7, "data", "x"));
    }
}
