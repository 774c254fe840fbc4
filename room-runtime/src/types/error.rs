//! What can go wrong, as values: [`Error`] for what the runtime refuses, [`Failure`] for whatever a handler gives up
//! with.

use std::{borrow::Cow, error::Error as StdError, fmt};

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

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
        /// The Worker's environment has no Durable Object namespace under the room's binding name, or its compatibility date is
        /// too old for rooms to be called.
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
        /// A handler [refused](crate::RoomContext::refuse), or the room answered [`connect`](crate::RoomHandle::connect) without
        /// a socket.
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

impl ErrorKind {
    /// The HTTP status that tells a client of it:
    ///
    /// | status | kinds |
    /// |---|---|
    /// | 400 | `InvalidRoomId`, `InvalidPeerId`, `InvalidTag`, `InvalidProtocol`, `InvalidIdempotencyKey` |
    /// | 403 | `Refused` |
    /// | 409 | `IdempotencyConflict` |
    /// | 410 | `PeerGone`, `Purged` |
    /// | 413 | `TooLarge` |
    /// | 429 | `RateLimited` |
    /// | 503 | `NotStarted`, `Overloaded`, `Restarted`, `Ticket` |
    /// | 504 | `Timeout` |
    /// | 500 | all others: nothing that the client did, nor can mend |
    pub const fn status(self) -> StatusCode {
        use ErrorKind::*;
        match self {
            InvalidRoomId | InvalidPeerId | InvalidTag | InvalidProtocol | InvalidIdempotencyKey => {
                StatusCode::BAD_REQUEST
            }
            Refused => StatusCode::FORBIDDEN,
            IdempotencyConflict => StatusCode::CONFLICT,
            PeerGone | Purged => StatusCode::GONE,
            TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RateLimited => StatusCode::TOO_MANY_REQUESTS,
            NotStarted | Overloaded | Restarted | Ticket => StatusCode::SERVICE_UNAVAILABLE,
            Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
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
    handler: Option<String>,
    refusal: Option<Box<str>>,
    /// That of a refusal, where it is not the one of its kind.
    status: Option<StatusCode>,
}

impl Error {
    /// An error of that kind; `message` says what happened and with what, in lower case and without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            room: None,
            peer: None,
            source: None,
            retryable: false,
            handler: None,
            refusal: None,
            status: None,
        }))
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without the room, the peer and the handler that [`Display`](fmt::Display) adds. For an error that a
    /// handler returned, what the handler said.
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

    /// The handler that returned it, for example `on_event`, where it is known.
    pub fn handler(&self) -> Option<&str> {
        self.0.handler.as_deref()
    }

    /// The message that a handler [refused with](crate::RoomContext::refuse_with), as the room's `Broadcast`; `None` when there
    /// is none.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is not a `T`.
    pub fn refusal<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let decoded = self.0.refusal.as_deref().map(serde_json::from_str).transpose();
        decoded.map_err(|error| {
            Error::new(ErrorKind::Decode, format!("the room's refusal does not decode: {error}")).because(error)
        })
    }

    /// The HTTP status that tells a client of it: that of its [kind](ErrorKind::status), or the one that a refusal
    /// [was given](Failure::with_status).
    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or(self.kind().status())
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

    pub(crate) fn by_handler(mut self, handler: impl Into<String>) -> Self {
        self.0.handler.get_or_insert_with(|| handler.into());
        self
    }

    pub(crate) fn with_refusal(mut self, refusal: Option<Box<str>>) -> Self {
        self.0.refusal = refusal;
        self
    }

    pub(crate) fn with_status(mut self, status: Option<StatusCode>) -> Self {
        self.0.status = status;
        self
    }

    /// The JSON of the message that a handler refused with.
    pub(crate) fn refusal_json(&self) -> Option<&str> {
        self.0.refusal.as_deref()
    }

    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, room, peer, source, retryable, handler, refusal, status } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("room", room)
            .field("peer", peer)
            .field("source", source)
            .field("retryable", retryable)
            .field("handler", handler)
            .field("refusal", refusal)
            .field("status", status)
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
        if let Some(handler) = &self.0.handler {
            write!(f, "{handler}: ")?;
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

    /// Any error in a box, such as those of libraries that return `Box<dyn Error>`, or an `anyhow::Error` by `.into()`. The `?`
    /// operator cannot convert these, because a box of an error is not an error itself.
    ///
    /// ```
    /// # use room_runtime::Failure;
    /// fn parse(text: &str) -> Result<u32, Box<dyn std::error::Error>> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// # fn example(text: &str) -> Result<(), Failure> {
    /// let amount = parse(text).map_err(Failure::from_boxed)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_boxed(error: impl Into<Box<dyn StdError + 'static>>) -> Self {
        Failure(error.into())
    }

    /// A refusal, for functions that have no [`RoomContext`](crate::RoomContext): see
    /// [`refuse`](crate::RoomContext::refuse).
    pub fn refuse(reason: impl fmt::Display) -> Self {
        Failure::refused(reason.to_string(), StatusCode::FORBIDDEN, None)
    }

    /// The HTTP status of a refusal, 400 to 599, in place of 403: for the client of `on_upgrade` and `on_request`, and for the
    /// Worker in [`Error::status`] and [`Error::into_response`]. A failure that is no refusal stays as it is.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext, http::StatusCode};
    /// # fn example<R: Room>(ctx: &RoomContext<R>) -> Result<(), Failure> {
    /// Err(ctx.refuse("this auction was opened already").with_status(StatusCode::CONFLICT))
    /// # }
    /// ```
    pub fn with_status(mut self, status: StatusCode) -> Self {
        let Some(refused) = self.0.downcast_mut::<Refused>() else { return self };
        if !status.is_client_error() && !status.is_server_error() {
            let message = format!("a refusal cannot have the status {}, only 400 to 599", status.as_u16());
            return Failure::from(Error::new(ErrorKind::Encode, message));
        }
        refused.status = status;
        self
    }

    pub(crate) fn refused(reason: String, status: StatusCode, message: Option<Box<str>>) -> Self {
        Failure(Box::new(Refused { reason, status, message }))
    }

    pub(crate) fn as_refused(&self) -> Option<&Refused> {
        self.downcast_ref()
    }

    /// The error inside, if it is of that type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The error inside.
    pub fn as_error(&self) -> &(dyn StdError + 'static) {
        &*self.0
    }

    /// The kind of the runtime's [`Error`] inside; [`ErrorKind::Refused`] for a refusal, and [`ErrorKind::Handler`] for
    /// everything else.
    pub fn kind(&self) -> ErrorKind {
        let other = if self.as_refused().is_some() { ErrorKind::Refused } else { ErrorKind::Handler };
        self.downcast_ref::<Error>().map_or(other, Error::kind)
    }
}

impl Failure {
    /// The kind of it as a fault of the room: nobody refused here, or it was another room that refused.
    pub(crate) fn fault_kind(&self) -> ErrorKind {
        match self.kind() {
            ErrorKind::Refused => ErrorKind::Handler,
            kind => kind,
        }
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

/// An expected answer of a handler that is no success, and no fault of the room.
#[derive(Debug)]
pub(crate) struct Refused {
    reason: String,
    status: StatusCode,
    /// The JSON of a message to its sender, in place of an error frame.
    message: Option<Box<str>>,
}

impl Refused {
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The reason of the close that follows: a client that was sent a message has it there.
    pub(crate) fn close_reason(&self) -> &str {
        if self.message.is_some() { "the room refused" } else { &self.reason }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl StdError for Refused {}

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Message {}
