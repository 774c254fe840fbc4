//! What the hooks are told: [`HandlerError`] and [`DecodeError`].

use std::fmt::{self, Write};

use crate::{CloseCode, ErrorKind, Failure, PeerId};

/// What `on_error` is told: an error that a handler returned, with which handler and which peer. It has been logged.
#[derive(Debug)]
pub struct HandlerError {
    handler: &'static str,
    peer: Option<PeerId>,
    failure: Failure,
}

impl HandlerError {
    pub(crate) fn new(handler: &'static str, peer: Option<PeerId>, failure: Failure) -> Self {
        HandlerError { handler, peer, failure }
    }

    /// The handler's name, for example `on_event`; `spawn` for background work.
    pub fn handler(&self) -> &'static str {
        self.handler
    }

    /// The peer it was for; `None` when there is none, for example for the Worker's `send`.
    pub fn peer(&self) -> Option<&PeerId> {
        self.peer.as_ref()
    }

    /// The error itself.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// [`Failure::kind`].
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => write!(f, "peer `{peer}`: {} failed: {}", self.handler, self.failure),
            None => write!(f, "{} failed: {}", self.handler, self.failure),
        }
    }
}

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

/// The most of a text, in bytes, that a message quotes. serde names an unknown variant with all the text that it was sent.
const MAX_QUOTED_BYTES: usize = 500;

/// A text, cut where it is longer than a message should be.
pub(crate) fn brief(text: impl fmt::Display) -> String {
    struct Brief(String);

    impl Write for Brief {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = MAX_QUOTED_BYTES - self.0.len();
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(&text[..text.floor_char_boundary(left)]);
            Err(fmt::Error)
        }
    }

    let mut brief = Brief(String::new());
    match write!(brief, "{text}") {
        Ok(()) => brief.0,
        Err(fmt::Error) => brief.0 + "…",
    }
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

    #[test]
    fn a_message_quotes_only_so_much() {
        let (short, long) = ("ä".repeat(250), "ä".repeat(251));
        assert_eq!(brief(&short), short);
        assert_eq!(brief(&long), format!("{short}…"));
        assert_eq!(brief(format_args!("x{}{}", short, 7)), format!("x{}…", &short[..498]));
        let error = DecodeError::malformed("x".repeat(1_000_000), String::new());
        assert!(error.message().len() < 600, "{} bytes", error.message().len());
    }

    #[test]
    fn a_failed_handler_is_named_with_its_peer() {
        let error = HandlerError::new("on_event", Some(PeerId::from("a")), Failure::msg("no"));
        assert_eq!((error.handler(), error.peer().map(PeerId::as_str)), ("on_event", Some("a")));
    }
}
