//! [`DecodeError`], for `on_decode_error`.

use std::fmt;

use super::brief::brief;
use crate::{CloseCode, ErrorKind};

/// A frame that is not an event of the room, for `on_decode_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    reason: DecodeReason,
    message: String,
    bytes: usize,
    text: Option<String>,
}

/// The reason why a frame is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The frame is not JSON, or not MessagePack, or not an `Event`.
    Malformed,
    /// The frame is binary. The peer speaks JSON, and the room has no `on_binary`.
    Binary,
    /// The frame is text. The peer speaks [MessagePack](crate::Codec::MessagePack).
    Text,
    /// The frame is larger than [`Limits::max_message_bytes`](crate::Limits::max_message_bytes) and was not decoded.
    TooLarge,
}

impl DecodeError {
    pub(crate) fn malformed(message: impl fmt::Display, text: String) -> Self {
        let message = format!("this is not an event of this room: {}", brief(message));
        DecodeError { reason: DecodeReason::Malformed, message, bytes: text.len(), text: Some(text) }
    }

    pub(crate) fn malformed_bytes(message: impl fmt::Display, bytes: usize) -> Self {
        let message = format!("this is not an event of this room: {}", brief(message));
        DecodeError { reason: DecodeReason::Malformed, message, bytes, text: None }
    }

    pub(crate) fn text_frame(text: String) -> Self {
        let message = "this is a text frame, the events of this connection are MessagePack in binary frames".to_owned();
        DecodeError { reason: DecodeReason::Text, message, bytes: text.len(), text: Some(text) }
    }

    pub(crate) fn binary(bytes: usize) -> Self {
        let message = "this is a binary frame, the events of this room are JSON text".to_owned();
        DecodeError { reason: DecodeReason::Binary, message, bytes, text: None }
    }

    pub(crate) fn too_large(bytes: usize, limit: usize) -> Self {
        let message = format!("this frame has {bytes} bytes, the limit of this room is {limit}");
        DecodeError { reason: DecodeReason::TooLarge, message, bytes, text: None }
    }

    /// The reason why the frame is not an event.
    pub fn reason(&self) -> DecodeReason {
        self.reason
    }

    /// The message for the sender: the fault and its position in the frame.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The size of the frame, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame; `None` if it is binary or was too large to decode.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The kind of the error frame for the sender.
    pub fn kind(&self) -> ErrorKind {
        match self.reason {
            DecodeReason::TooLarge => ErrorKind::TooLarge,
            DecodeReason::Malformed | DecodeReason::Binary | DecodeReason::Text => ErrorKind::Decode,
        }
    }

    pub(crate) fn close_code(&self) -> CloseCode {
        match self.reason {
            DecodeReason::TooLarge => CloseCode::TOO_BIG,
            DecodeReason::Malformed | DecodeReason::Binary | DecodeReason::Text => CloseCode::INVALID,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_frame_is_described_with_reason_and_content() {
        let error = DecodeError::malformed("expected value", "{nope".to_owned());
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::Malformed, 5, Some("{nope")));
        assert_eq!((error.kind(), error.close_code()), (ErrorKind::Decode, CloseCode::INVALID));
        assert_eq!(error.to_string(), "this is not an event of this room: expected value");
        assert_eq!(error.to_string(), error.message());

        let error = DecodeError::binary(3);
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::Binary, 3, None));
        assert_eq!((error.kind(), error.close_code()), (ErrorKind::Decode, CloseCode::INVALID));

        let error = DecodeError::too_large(10, 8);
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::TooLarge, 10, None));
        assert_eq!((error.kind(), error.close_code()), (ErrorKind::TooLarge, CloseCode::TOO_BIG));
        assert_eq!(error.to_string(), "this frame has 10 bytes, the limit of this room is 8");
    }
}
