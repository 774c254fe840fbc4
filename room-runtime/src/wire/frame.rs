//! Frames: events in, messages and the runtime's own out.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    encode_error,
    json::{depth, round_trip::RoundTrip},
};
use crate::{DecodeError, Error, ErrorKind, Limits};

/// One frame to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    Text(&'a str),
    #[allow(dead_code, reason = "a room of another codec than JSON sends these")]
    Binary(&'a [u8]),
}

/// One frame from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedFrame {
    Text(String),
    Binary(Vec<u8>),
}

impl OwnedFrame {
    pub(crate) fn len(&self) -> usize {
        match self {
            OwnedFrame::Text(text) => text.len(),
            OwnedFrame::Binary(bytes) => bytes.len(),
        }
    }
}

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
}
