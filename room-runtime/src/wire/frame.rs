//! Frames: the decoding of events, and the encoding of messages and of the runtime's own frames.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    encode_error,
    json::{depth, round_trip::RoundTrip},
    msgpack,
};
use crate::{DecodeError, Error, ErrorKind, Limits, Violation};

/// A frame to a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    /// A message as JSON, for the peers that speak JSON.
    Text(&'a str),
    /// A message as MessagePack, for the peers that speak MessagePack.
    Packed(&'a [u8]),
    /// Bytes of the room's own protocol, for all peers.
    Bytes(&'a [u8]),
}

impl Frame<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Frame::Text(text) => text.len(),
            Frame::Packed(bytes) | Frame::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A frame from a peer.
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

#[cfg(not(target_arch = "wasm32"))]
impl OwnedFrame {
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            OwnedFrame::Text(text) => Some(text),
            OwnedFrame::Binary(_) => None,
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            OwnedFrame::Text(text) => text.into_bytes(),
            OwnedFrame::Binary(bytes) => bytes,
        }
    }
}

impl From<String> for OwnedFrame {
    fn from(text: String) -> Self {
        OwnedFrame::Text(text)
    }
}

impl From<Vec<u8>> for OwnedFrame {
    fn from(bytes: Vec<u8>) -> Self {
        OwnedFrame::Binary(bytes)
    }
}

/// A frame of the runtime itself, `{"$room": …}`. A message of a room does not start with `$room`, because serde gives no
/// variant a field of that name by default.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice<'a> {
    Error {
        /// The number of the frame that failed, for clients of `room.v1`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
        code: ErrorKind,
        message: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "is_empty")]
        violations: Cow<'a, [Violation]>,
    },
    /// The token by which the peer can reconnect to its place.
    Resume(Cow<'a, str>),
}

fn is_empty(violations: &[Violation]) -> bool {
    violations.is_empty()
}

#[derive(Serialize, Deserialize)]
struct NoticeFrame<'a> {
    #[serde(rename = "$room", borrow)]
    notice: Notice<'a>,
}

impl<'a> Notice<'a> {
    /// Parses a frame of the runtime; `None` for a message of the room.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        // The check of the prefix avoids a second parse of nearly every message.
        let frame = text.starts_with(r#"{"$room""#).then(|| serde_json::from_str::<NoticeFrame<'a>>(text).ok())?;
        frame.map(|frame| frame.notice)
    }

    /// Returns the frame for a plain client.
    pub(crate) fn into_frame(self) -> String {
        // The serialization of strings and a number, without a map, cannot fail.
        serde_json::to_string(&NoticeFrame { notice: self }).unwrap_or_default()
    }

    /// Returns the control for a client of `room.v1`, with the number of its frame.
    pub(crate) fn into_control(mut self, number: u64) -> String {
        if let Notice::Error { n, .. } = &mut self {
            *n = (number > 0).then_some(number);
        }
        serde_json::to_string(&self).unwrap_or_default()
    }

    /// An error, `{"error": {"code": "…", "message": "…"}}`.
    pub(crate) fn error(code: ErrorKind, message: &'a str, retry_after_ms: Option<u64>) -> Self {
        Notice::Error { n: None, code, message: message.into(), retry_after_ms, violations: Cow::default() }
    }

    /// The error of a frame that is no event, with the rules that the event breaks, as the list `violations`.
    pub(crate) fn decode_error(error: &'a DecodeError) -> Self {
        let (code, message, violations) = (error.kind(), error.message().into(), error.violations().into());
        Notice::Error { n: None, code, message, retry_after_ms: None, violations }
    }
}

/// Returns a frame of the runtime in MessagePack as JSON, for [`Notice::parse`]; `None` for a message of the room.
pub(crate) fn unpack_notice(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"\x81\xa5$room") {
        return None;
    }
    let frame: serde_json::Value = msgpack::decode_message(bytes).ok()?;
    Some(frame.to_string())
}

/// Decodes an event.
pub(crate) fn decode_event<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    const MAX_DEPTH: u8 = Limits::MAX_EVENT_DEPTH;
    // Each level has two brackets, so most frames are too short to need a measurement.
    if text.len() / 2 <= usize::from(MAX_DEPTH) {
        return serde_json::from_str(text);
    }
    // The measurement also covers the parts that serde_json skips without a check of their depth.
    depth::measured(text, MAX_DEPTH, || serde_json::from_str(text))
}

/// Encodes an event as the text of a frame or of a command.
pub(crate) fn encode_event<T: Serialize>(event: &T) -> Result<String, Error> {
    let text = serde_json::to_string(&RoundTrip::within(event, Limits::MAX_EVENT_DEPTH));
    text.map_err(|error| encode_error("the event", &error))
}

/// Encodes a broadcast as the text of a frame.
pub(crate) fn encode_frame<T: Serialize>(message: &T) -> Result<String, Error> {
    serde_json::to_string(&RoundTrip::new(message)).map_err(|error| encode_error("the message", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_frame_is_json_with_the_text_escaped() {
        let frame = Notice::error(ErrorKind::Decode, "unknown variant `\"<b>\"`\n", None).into_frame();
        assert_eq!(frame, r#"{"$room":{"error":{"code":"decode","message":"unknown variant `\"<b>\"`\n"}}}"#);
        let frame = Notice::error(ErrorKind::RateLimited, "slow down", Some(250)).into_frame();
        assert_eq!(frame, r#"{"$room":{"error":{"code":"rate_limited","message":"slow down","retry_after_ms":250}}}"#);
        let control = Notice::error(ErrorKind::Handler, "no", None).into_control(7);
        assert_eq!(control, r#"{"error":{"n":7,"code":"handler","message":"no"}}"#);
        let control = Notice::error(ErrorKind::Handler, "no", None).into_control(0);
        assert_eq!(control, r#"{"error":{"code":"handler","message":"no"}}"#);
    }

    #[test]
    fn a_notice_is_distinguished_from_a_message() {
        let error = Notice::error(ErrorKind::RateLimited, "slow down", Some(250)).into_frame();
        let parsed = Notice::parse(&error);
        assert_eq!(
            parsed,
            Some(Notice::Error {
                n: None,
                code: ErrorKind::RateLimited,
                message: "slow down".into(),
                retry_after_ms: Some(250),
                violations: Cow::default(),
            })
        );
        assert_eq!(Notice::parse(&Notice::Resume("0f".into()).into_frame()), Some(Notice::Resume("0f".into())));
        for message in [r#"{"type":"$room"}"#, r#"{"$room":{"else":1}}"#, r#""{\"$room\"""#, "{}", ""] {
            assert_eq!(Notice::parse(message), None, "{message}");
        }
    }
}
