//! What can go wrong, as values: [`Error`] for what the runtime refuses, [`Failure`] for whatever a handler gives up
//! with.

use std::{borrow::Cow, error::Error as StdError, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{PeerId, RoomId};

/// The kinds, each with its name on the wire: one list, so that none can be forgotten in another.
macro_rules! error_kinds {
    ($(#[$enum_doc:meta])* pub enum ErrorKind { $($(#[$doc:meta])* $kind:ident = $name:literal,)* }) => {
        $(#[$enum_doc])*
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// The kind's name on the wire, for example `attachment_too_large`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ErrorKind::$kind => $name,)*
                }
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(ErrorKind::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

error_kinds! {
    /// What kind of thing went wrong. Match on it to decide what to do; print the [`Error`] to tell a person.
    ///
    /// The kind is kept across the hop between Worker and room. A kind that a newer room knows and an older Worker does not
    /// is [`ErrorKind::Platform`] there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// The Worker's environment has no Durable Object namespace under the room's binding name.
        Binding = "binding",
        /// A room id that is empty or longer than [`RoomId::MAX_BYTES`].
        InvalidRoomId = "invalid_room_id",
        /// A peer id that is empty or longer than [`PeerId::MAX_BYTES`].
        InvalidPeerId = "invalid_peer_id",
        /// More tags than [`Upgrade::MAX_TAGS`](crate::Upgrade::MAX_TAGS), or one that is too long.
        InvalidTag = "invalid_tag",
        /// A WebSocket subprotocol was [chosen](crate::Upgrade::protocol) that the client does not offer.
        InvalidProtocol = "invalid_protocol",
        /// A close code that may not be sent, or a reason of more than 123 bytes.
        InvalidClose = "invalid_close",
        /// A peer's data, encoded, is larger than the platform keeps with a socket.
        AttachmentTooLarge = "attachment_too_large",
        /// A value, encoded, is larger than the platform stores under one key.
        ValueTooLarge = "value_too_large",
        /// A value that could not be encoded as JSON.
        Encode = "encode",
        /// Bytes that are not what they should be: an unknown variant, a missing field, no JSON at all.
        Decode = "decode",
        /// The room was used inside the closure of an `update`, the state inside `init`, or a peer's data inside the closure of
        /// an `update_data`.
        NestedUpdate = "nested_update",
        /// Storage refused a read or a write.
        Storage = "storage",
        /// The peer is gone, or was never let in.
        PeerGone = "peer_gone",
        /// The socket refused a frame.
        Send = "send",
        /// The peer does not read: more was sent to it than
        /// [`Limits::max_unread_bytes`](crate::Limits::max_unread_bytes). Its connection is closed with 1013.
        Unread = "unread",
        /// A handler of the room returned an error.
        Handler = "handler",
        /// The room's `services` failed, so that it can handle nothing.
        Services = "services",
        /// The room's `on_start` failed, so that it handles nothing until that succeeds: each event tries it again.
        NotStarted = "not_started",
        /// A handler took longer than it may.
        Timeout = "timeout",
        /// An idempotency key that is empty or longer than 256 bytes.
        InvalidIdempotencyKey = "invalid_idempotency_key",
        /// The room knows the idempotency key from another call.
        IdempotencyConflict = "idempotency_conflict",
        /// A frame is larger than [`Limits::max_message_bytes`](crate::Limits::max_message_bytes).
        TooLarge = "too_large",
        /// Frames come faster than [`Limits::rate_limit`](crate::Limits::rate_limit) allows.
        RateLimited = "rate_limited",
        /// The room refused an upgrade.
        Refused = "refused",
        /// A period of nothing.
        InvalidSchedule = "invalid_schedule",
        /// The database refused a statement, or a row is not what it was asked for as.
        Sql = "sql",
        /// The room was purged while the handler ran: it ends.
        Purged = "purged",
        /// The upgrade reached the object without the Worker's half of it, or too late.
        Ticket = "ticket",
        /// The platform has more requests queued for this object than it accepts. Not retried: retrying makes it worse.
        Overloaded = "overloaded",
        /// The object was restarted while it worked on this call (a panic, a deploy, a crash): whether the call took effect
        /// is unknown.
        Restarted = "restarted",
        /// The platform failed in a way that has no kind of its own.
        Platform = "platform",
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <Cow<'de, str>>::deserialize(deserializer)?;
        Ok(ErrorKind::named(&name).unwrap_or(ErrorKind::Platform))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of the runtime: what kind, what happened, and in which room and to which peer where that is known.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    room: Option<RoomId>,
    peer: Option<PeerId>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retryable: bool,
}

impl Error {
    /// An error of that kind; `message` says what happened and with what, in lower case and without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), room: None, peer: None, source: None, retryable: false }))
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without the room and the peer that [`Display`](fmt::Display) adds.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The room it happened in, where known.
    pub fn room(&self) -> Option<&RoomId> {
        self.0.room.as_ref()
    }

    /// The peer it happened to, where there is one.
    pub fn peer(&self) -> Option<&PeerId> {
        self.0.peer.as_ref()
    }

    /// Whether the same may work a moment later: the room restarted, or could not be reached. Whether it took effect this
    /// time is not known.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    pub(crate) fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    pub(crate) fn in_room(mut self, room: &RoomId) -> Self {
        self.0.room.get_or_insert_with(|| room.clone());
        self
    }

    pub(crate) fn of_peer(mut self, peer: &PeerId) -> Self {
        self.0.peer.get_or_insert_with(|| peer.clone());
        self
    }

    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, room, peer, source, retryable } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("room", room)
            .field("peer", peer)
            .field("source", source)
            .field("retryable", retryable)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.room, &self.0.peer) {
            (Some(room), Some(peer)) => write!(f, "room `{room}`, peer `{peer}`: ")?,
            (Some(room), None) => write!(f, "room `{room}`: ")?,
            (None, Some(peer)) => write!(f, "peer `{peer}`: ")?,
            (None, None) => {}
        }
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for worker::Error {
    fn from(error: Error) -> Self {
        worker::Error::RustError(error.to_string())
    }
}

/// What a handler gives up with: any error, so that `?` works on all of them.
///
/// Like `anyhow::Error`, and for the same reason, it is not itself a [`std::error::Error`].
pub struct Failure(Box<dyn StdError + 'static>);

impl Failure {
    /// A failure that is only a text.
    pub fn msg(message: impl fmt::Display) -> Self {
        Failure(Box::new(Message(message.to_string())))
    }

    /// The error inside, if it is of that type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The error inside.
    pub fn as_error(&self) -> &(dyn StdError + 'static) {
        &*self.0
    }

    /// The kind of the runtime's [`Error`] inside; [`ErrorKind::Handler`] for everything else.
    pub fn kind(&self) -> ErrorKind {
        self.downcast_ref::<Error>().map_or(ErrorKind::Handler, Error::kind)
    }
}

impl<E: StdError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(Box::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Message {}
