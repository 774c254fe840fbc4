//! [`DecodeError`], for `on_decode_error`.

use std::fmt;

use super::brief::brief;
use crate::{CloseCode, ErrorKind};

/// What `on_decode_error` is told: a frame that is not an event of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    reason: DecodeReason,
    message: String,
    bytes: usize,
    text: Option<String>,
}

/// Why a frame is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeReason {
    /// It is text, but no JSON, or no `Event`.
    Malformed,
    /// It is a binary frame, where the room speaks JSON text.
    Binary,
    /// It is larger than [`Limits::max_message_bytes`](crate::Limits::max_message_bytes), and was not looked at.
    TooLarge,
}

impl DecodeError {
    pub(crate) fn malformed(message: impl fmt::Display, text: String) -> Self {
        let message = format!("this is not an event of this room: {}", brief(message));
        DecodeError { reason: DecodeReason::Malformed, message, bytes: text.len(), text: Some(text) }
    }

    pub(crate) fn binary(bytes: usize) -> Self {
        let message = "this is a binary frame, the events of this room are JSON text".to_owned();
        DecodeError { reason: DecodeReason::Binary, message, bytes, text: None }
    }

    pub(crate) fn too_large(bytes: usize, limit: usize) -> Self {
        let message = format!("this frame has {bytes} bytes, the limit of this room is {limit}");
        DecodeError { reason: DecodeReason::TooLarge, message, bytes, text: None }
    }

    /// Why it is not an event.
    pub fn reason(&self) -> DecodeReason {
        self.reason
    }

    /// What its sender is told: what is wrong, and where in the frame.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How many bytes the frame has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame, when it is text and was looked at.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The kind that its sender is told.
    pub fn kind(&self) -> ErrorKind {
        match self.reason {
            DecodeReason::TooLarge => ErrorKind::TooLarge,
            DecodeReason::Malformed | DecodeReason::Binary => ErrorKind::Decode,
        }
    }

    pub(crate) fn close_code(&self) -> CloseCode {
        match self.reason {
            DecodeReason::TooLarge => CloseCode::TOO_BIG,
            DecodeReason::Malformed | DecodeReason::Binary => CloseCode::INVALID,
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
    fn a_frame_that_is_no_event_says_why_and_what_it_was() {
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
