//! [`DecodeError`], for `on_decode_error`.

use std::fmt;

use super::{
    brief::brief,
    violations::{Invalid, Violation},
};
use crate::{CloseCode, ErrorKind};

/// A frame that is not an event of the room, for `on_decode_error`.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room(on_invalid = "ignore")]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub enum Broadcast { NotUnderstood { why: String, bytes: usize } }
///     // The room's schemas are here.
///     pub fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
///         if let Some(peer) = ctx.sender() {
///             peer.send(&Broadcast::NotUnderstood { why: error.message().into(), bytes: error.bytes() })?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ada = TestRoom::<chat::Room>::new("main").connect(Upgrade::new(chat::Connection {}));
/// ada.send_raw("{}");
/// let chat::Broadcast::NotUnderstood { why, bytes } = ada.receive().expect("an answer");
/// assert!(why.starts_with("this is not an event of this room: missing field `type`"), "{why}");
/// assert_eq!(bytes, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    reason: DecodeReason,
    message: String,
    bytes: usize,
    text: Option<String>,
    violations: Vec<Violation>,
}

/// The reason why a frame is not an event.
///
/// ```
/// use room_runtime::{DecodeReason, prelude::*, testing::TestRoom};
///
/// #[room(max_message_bytes = 1000)]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub too_large: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use room_runtime::DecodeReason;
///     pub fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
///         if error.reason() == DecodeReason::TooLarge {
///             ctx.update(|state| state.too_large += 1)?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}));
/// ada.send_raw("no JSON");
/// ada.send(&chat::Event::Say { text: "x".repeat(1000) });
/// assert_eq!(room.state()?, Some(chat::State { too_large: 1 }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The frame is not JSON, or not MessagePack, or not an `Event`.
    Malformed,
    /// The frame is an `Event` that breaks a rule of the room. The option `validate` chooses the rules.
    Invalid,
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
        Self::new(DecodeReason::Malformed, message, text.len(), Some(text))
    }

    /// The error of a call: `text` is `None` for one in MessagePack.
    pub(crate) fn malformed_call(message: impl fmt::Display, bytes: usize, text: Option<String>) -> Self {
        let message = format!("this is not a call of this room: {}", brief(message));
        Self::new(DecodeReason::Malformed, message, bytes, text)
    }

    pub(crate) fn malformed_bytes(message: impl fmt::Display, bytes: usize) -> Self {
        let message = format!("this is not an event of this room: {}", brief(message));
        Self::new(DecodeReason::Malformed, message, bytes, None)
    }

    pub(crate) fn invalid(Invalid { message, violations }: Invalid, text: String) -> Self {
        DecodeError { violations, ..Self::new(DecodeReason::Invalid, message, text.len(), Some(text)) }
    }

    pub(crate) fn invalid_bytes(Invalid { message, violations }: Invalid, bytes: usize) -> Self {
        DecodeError { violations, ..Self::new(DecodeReason::Invalid, message, bytes, None) }
    }

    pub(crate) fn text_frame(text: String) -> Self {
        let message = "this is a text frame, the events of this connection are MessagePack in binary frames".to_owned();
        Self::new(DecodeReason::Text, message, text.len(), Some(text))
    }

    pub(crate) fn binary(bytes: usize) -> Self {
        let message = "this is a binary frame, the events of this room are JSON text".to_owned();
        Self::new(DecodeReason::Binary, message, bytes, None)
    }

    pub(crate) fn too_large(bytes: usize, limit: usize) -> Self {
        let message = format!("this frame has {bytes} bytes, the limit of this room is {limit}");
        Self::new(DecodeReason::TooLarge, message, bytes, None)
    }

    fn new(reason: DecodeReason, message: String, bytes: usize, text: Option<String>) -> Self {
        DecodeError { reason, message, bytes, text, violations: Vec::new() }
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

    /// The path of the first field that breaks a rule, for example `items[3].name`.
    ///
    /// garde checks the fields of a type in the order of their names.
    /// It is empty if the rule is one of the whole event, and `None` unless the reason is [`DecodeReason::Invalid`].
    pub fn path(&self) -> Option<&str> {
        self.violations.first().map(Violation::path)
    }

    /// The rules that the event breaks, as the error frame shows them: the first ones, of at most 500 bytes together.
    ///
    /// The message states the number of all. The list is empty unless the reason is [`DecodeReason::Invalid`].
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The kind of the error frame for the sender.
    pub fn kind(&self) -> ErrorKind {
        match self.reason {
            DecodeReason::TooLarge => ErrorKind::TooLarge,
            DecodeReason::Invalid => ErrorKind::Invalid,
            DecodeReason::Malformed | DecodeReason::Binary | DecodeReason::Text => ErrorKind::Decode,
        }
    }

    pub(crate) fn close_code(&self) -> CloseCode {
        match self.reason {
            DecodeReason::TooLarge => CloseCode::TOO_BIG,
            DecodeReason::Malformed | DecodeReason::Binary | DecodeReason::Text | DecodeReason::Invalid => {
                CloseCode::INVALID
            }
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

        let invalid = Invalid { message: "no".to_owned(), violations: Vec::new() };
        let error = DecodeError::invalid(invalid, "{}".to_owned());
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::Invalid, 2, Some("{}")));
        assert_eq!((error.kind(), error.close_code(), error.message()), (ErrorKind::Invalid, CloseCode::INVALID, "no"));

        let error = DecodeError::binary(3);
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::Binary, 3, None));
        assert_eq!((error.kind(), error.close_code()), (ErrorKind::Decode, CloseCode::INVALID));

        let error = DecodeError::too_large(10, 8);
        assert_eq!((error.reason(), error.bytes(), error.text()), (DecodeReason::TooLarge, 10, None));
        assert_eq!((error.kind(), error.close_code()), (ErrorKind::TooLarge, CloseCode::TOO_BIG));
        assert_eq!(error.to_string(), "this frame has 10 bytes, the limit of this room is 8");
    }
}
