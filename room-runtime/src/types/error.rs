//! The errors: [`Error`] for an error of the runtime, and [`Failure`] for any error of a handler.

use std::{borrow::Cow, error::Error as StdError, fmt, io, iter};

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use worker::js_sys;

use super::violations::Violation;
use crate::{PeerId, RoomId};

/// The kinds with their names on the wire. The macro keeps them in one list, so that no kind is missing in a
/// conversion.
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
    /// The kind of an error. Match on it to choose a reaction; print the [`Error`] for a human reader.
    ///
    /// An error keeps its kind on the way between Worker and room. An older Worker sees a kind that only a newer room
    /// knows as [`ErrorKind::Platform`].
    ///
    /// ```
    /// use room_runtime::{Error, ErrorKind};
    ///
    /// /// The advice of a Worker to the user of a page.
    /// fn advice(error: &Error) -> &'static str {
    ///     match error.kind() {
    ///         ErrorKind::Refused => "The room said no.",
    ///         ErrorKind::RateLimited | ErrorKind::Overloaded => "Wait a little.",
    ///         ErrorKind::Restarted => "It is unknown if that worked. Look before you try again.",
    ///         _ => "That did not work.",
    ///     }
    /// }
    ///
    /// assert_eq!(advice(&Error::new(ErrorKind::Overloaded, "too many requests")), "Wait a little.");
    /// assert_eq!(ErrorKind::Overloaded.status(), 503);
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// The Worker's environment has no Durable Object namespace under the room's binding name.
        ///
        /// The Worker's compatibility date can also be too old for calls to rooms.
        Binding = "binding",
        /// A room id that is empty or longer than [`RoomId::MAX_BYTES`].
        InvalidRoomId = "invalid_room_id",
        /// A number of shards that is 0 or more than [`Shards::MAX`](crate::Shards::MAX).
        InvalidShards = "invalid_shards",
        /// A bound of 0 concurrent calls, with which [`federate`](crate::RoomClient::federate) calls no room.
        InvalidConcurrency = "invalid_concurrency",
        /// A peer id that is empty or longer than [`PeerId::MAX_BYTES`].
        InvalidPeerId = "invalid_peer_id",
        /// A peer has more tags than [`Upgrade::MAX_TAGS`](crate::Upgrade::MAX_TAGS), or a tag is too long.
        InvalidTag = "invalid_tag",
        /// The name of a topic is empty, longer than 128 bytes, or has other characters than `A-Z a-z 0-9 : _ . / -`.
        InvalidTopic = "invalid_topic",
        /// The [chosen](crate::Upgrade::protocol) WebSocket subprotocol is not one that the client offers.
        InvalidProtocol = "invalid_protocol",
        /// A close code that cannot be sent, or a reason of more than 123 bytes.
        InvalidClose = "invalid_close",
        /// The encoded data of a peer, or its data and its topics, are larger than the platform keeps with a socket.
        AttachmentTooLarge = "attachment_too_large",
        /// An encoded value is larger than the platform stores under one key.
        ValueTooLarge = "value_too_large",
        /// A value is not serializable as JSON.
        Encode = "encode",
        /// Bytes that do not decode: an unknown variant, a missing field, or text that is not JSON.
        Decode = "decode",
        /// A value of the right type that breaks a rule of the room, which the option `validate` of `#[room]` chooses.
        ///
        /// [`Error::violations`] lists the fields.
        Invalid = "invalid",
        /// The room was used inside the closure of an `update`.
        ///
        /// The same kind covers the state inside `init`, a peer's data inside the closure of an `update_data`, what a
        /// rollback could not undo inside a [`transaction`](crate::Sql::transaction), and the database inside a
        /// [`for_each`](crate::Sql::for_each).
        NestedUpdate = "nested_update",
        /// Storage failed a read or a write.
        Storage = "storage",
        /// The peer is gone, or the room never accepted it.
        PeerGone = "peer_gone",
        /// The socket did not accept a frame.
        Send = "send",
        /// The peer is a slow consumer, and its connection is closed with 1013.
        ///
        /// More than [`Limits::max_unread_bytes`](crate::Limits::max_unread_bytes) wait for it.
        Unread = "unread",
        /// A handler of the room returned an error.
        Handler = "handler",
        /// The room's `services` failed, so the room handles nothing.
        Services = "services",
        /// The room's `on_start` failed, so the room handles nothing until it succeeds. Each event runs it again.
        NotStarted = "not_started",
        /// A handler exceeded its time limit.
        Timeout = "timeout",
        /// An idempotency key that is empty or longer than 256 bytes.
        InvalidIdempotencyKey = "invalid_idempotency_key",
        /// The room has stored the idempotency key for a different call.
        IdempotencyConflict = "idempotency_conflict",
        /// A frame is larger than [`Limits::max_message_bytes`](crate::Limits::max_message_bytes).
        TooLarge = "too_large",
        /// Frames arrive faster than [`Limits::rate_limit`](crate::Limits::rate_limit) allows.
        RateLimited = "rate_limited",
        /// A handler [refused](crate::RoomContext::refuse).
        ///
        /// The same kind covers a [`connect`](crate::RoomHandle::connect) that the room answered without a socket.
        Refused = "refused",
        /// A schedule has a period of zero.
        InvalidSchedule = "invalid_schedule",
        /// The room's outbox has no place for another [durable call](crate::SiblingCall::durably).
        OutboxFull = "outbox_full",
        /// The database refused a statement, a row does not match the requested type, or a list of
        /// [migrations](crate::Sql::migrate) does not begin with those that have run.
        Sql = "sql",
        /// The room was purged while the handler ran, which ends the handler.
        Purged = "purged",
        /// The upgrade reached the object too late or without the Worker's half.
        Ticket = "ticket",
        /// The platform has more requests queued for this object than it accepts. There is no retry, because retries
        /// add load.
        Overloaded = "overloaded",
        /// The object was restarted while it worked on this call, by a panic, a crash or a deploy. The effect of the
        /// call is unknown.
        Restarted = "restarted",
        /// A failure of the platform that has no kind of its own.
        Platform = "platform",
    }
}

impl ErrorKind {
    /// The HTTP status with which a Worker reports the error to a client:
    ///
    /// | status | kinds |
    /// |---|---|
    /// | 400 | `InvalidRoomId`, `InvalidPeerId`, `InvalidTag`, `InvalidTopic`, `InvalidProtocol`, `InvalidIdempotencyKey` |
    /// | 403 | `Refused` |
    /// | 409 | `IdempotencyConflict` |
    /// | 410 | `PeerGone`, `Purged` |
    /// | 413 | `TooLarge` |
    /// | 422 | `Invalid`: 500 for a value that a handler made |
    /// | 429 | `RateLimited` |
    /// | 503 | `NotStarted`, `OutboxFull`, `Overloaded`, `Restarted`, `Ticket` |
    /// | 504 | `Timeout` |
    /// | 500 | all others: the client did not cause them and cannot correct them |
    pub const fn status(self) -> StatusCode {
        use ErrorKind::*;
        match self {
            InvalidRoomId | InvalidPeerId | InvalidTag | InvalidTopic | InvalidProtocol | InvalidIdempotencyKey => {
                StatusCode::BAD_REQUEST
            }
            Refused => StatusCode::FORBIDDEN,
            IdempotencyConflict => StatusCode::CONFLICT,
            PeerGone | Purged => StatusCode::GONE,
            TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RateLimited => StatusCode::TOO_MANY_REQUESTS,
            NotStarted | OutboxFull | Overloaded | Restarted | Ticket => StatusCode::SERVICE_UNAVAILABLE,
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

/// An error of the runtime: its kind and message, and if known its room and its peer.
///
/// A Worker gets it from each call of a room, and a handler from the functions of its context. It converts with `?` into the
/// [`Failure`] of a handler and into a [`worker::Error`].
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod auction {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Bid { amount: u32 } }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         Err(ctx.refuse("the auction is over").with_status(http::StatusCode::GONE))
///     }
/// }
///
/// # fn main() {
/// let room = TestRoom::<auction::Room>::new("lot-7");
/// let error = room.send(&auction::Event::Bid { amount: 5 }).expect_err("a refusal");
/// assert_eq!(error.kind(), ErrorKind::Refused);
/// assert_eq!(error.to_string(), "room `lot-7`: on_event: the auction is over");
/// // In a Worker, `error.into_response()` makes a response with this status.
/// assert_eq!(error.status(), 410);
/// # }
/// ```
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
    violations: Vec<Violation>,
    /// The status, if it differs from the status of the kind.
    status: Option<StatusCode>,
    /// True if the handler itself purged the room. The text alone could be written by any code.
    is_own_purge: bool,
}

impl Error {
    /// Creates an error of this kind.
    ///
    /// The message names the fault and the values at fault, in lower case and without a full stop.
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
            violations: Vec::new(),
            status: None,
            is_own_purge: false,
        }))
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without the room, the peer and the handler that [`Display`](fmt::Display) adds.
    ///
    /// For an error that a handler returned, this is the message of that error.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The room of the error, if known.
    pub fn room(&self) -> Option<&RoomId> {
        self.0.room.as_ref()
    }

    /// The peer of the error, if it has one.
    pub fn peer(&self) -> Option<&PeerId> {
        self.0.peer.as_ref()
    }

    /// The handler that returned the error, for example `on_event`, if known.
    pub fn handler(&self) -> Option<&str> {
        self.0.handler.as_deref()
    }

    /// Returns the message that a handler [refused with](crate::RoomContext::refuse_with), as the room's `Broadcast`.
    ///
    /// `None` if there is no such message.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the message is not a `T`.
    pub fn refusal<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let decoded = self.0.refusal.as_deref().map(serde_json::from_str).transpose();
        decoded.map_err(|error| {
            Error::new(ErrorKind::Decode, format!("the room's refusal does not decode: {error}")).because(error)
        })
    }

    /// The rules that a value breaks, for an error of the kind [`Invalid`](ErrorKind::Invalid): the first ones, of at
    /// most 500 bytes together.
    ///
    /// The message states the number of all.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// The HTTP status with which a Worker reports the error to a client.
    ///
    /// It is the status of the error's [kind](ErrorKind::status), or the status that a refusal [was
    /// given](Failure::with_status). It is 500 for an invalid value that a handler made.
    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or(self.kind().status())
    }

    /// Finds an error of a room in another error: in a [`worker::Error`], or as the cause of any error.
    ///
    /// To own the error, use [`Error::try_from`] with a `worker::Error`.
    ///
    /// ```
    /// # use room_runtime::{Error, ErrorKind};
    /// let error = worker::Error::from(Error::new(ErrorKind::RateLimited, "too fast"));
    /// assert_eq!(Error::find(&error).map(Error::kind), Some(ErrorKind::RateLimited));
    /// ```
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
        iter::successors(Some(error), |error| (*error).source()).find_map(|error| {
            // The source of an `io::Error` is not the error that it holds, but the source of that one.
            let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            error.downcast_ref().or_else(|| held?.downcast_ref())
        })
    }

    /// Returns whether a retry can succeed, because the room restarted or could not be reached.
    ///
    /// The effect of the failed call is unknown.
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

    pub(crate) fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.0.violations = violations;
        self
    }

    /// Marks an invalid value that a handler of the room made: the client did not cause it.
    pub(crate) fn by_the_room(self) -> Self {
        let status = (self.kind() == ErrorKind::Invalid).then_some(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_some() { self.with_status(status) } else { self }
    }

    /// The error by which a handler ends that has purged the room.
    pub(crate) fn own_purge() -> Self {
        let mut error = Error::new(ErrorKind::Purged, "the handler purged the room");
        error.0.is_own_purge = true;
        error
    }

    pub(crate) fn is_own_purge(&self) -> bool {
        self.0.is_own_purge
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
        let Inner {
            kind,
            message,
            room,
            peer,
            source,
            retryable,
            handler,
            refusal,
            violations,
            status,
            is_own_purge: _,
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("room", room)
            .field("peer", peer)
            .field("source", source)
            .field("retryable", retryable)
            .field("handler", handler)
            .field("refusal", refusal)
            .field("violations", violations)
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

/// Converts the error for the `?` of a function that returns a `worker::Result`.
///
/// Nothing is lost: [`Error::try_from`] returns the error again, and [`Error::find`] a reference to it. On Cloudflare the
/// log shows the text of the error and its kind: ``Error [refused]: room `r1`: the auction is over``. Natively the
/// text of the `worker::Error` is `I/O error`, and that of its [source](StdError::source) is the text of this error.
///
/// ```no_run
/// # use room_runtime::{Error, Room, RoomHandle};
/// use worker::Response;
///
/// async fn bid<R: Room>(room: RoomHandle<R>, event: R::Event) -> worker::Result<Response> {
///     room.send(&event).await?;
///     Response::ok("sent")
/// }
///
/// async fn answer<R: Room>(room: RoomHandle<R>, event: R::Event) -> worker::Result<Response> {
///     match bid(room, event).await {
///         // An error of a room has its own status and body. The second `?` returns any other error unchanged.
///         Err(error) => Error::try_from(error)?.into_response(),
///         answer => answer,
///     }
/// }
/// ```
impl From<Error> for worker::Error {
    fn from(error: Error) -> Self {
        let (kind, message) = (error.kind().as_str(), error.to_string());
        // No other variant of `worker` 0.8 holds an error of another crate. Its own text is only `I/O error`.
        let kept = worker::Error::Io(io::Error::other(error));
        if cfg!(target_arch = "wasm32") { with_text(kind, message, kept) } else { kept }
    }
}

/// Wraps an error, so that a log and JavaScript show this text and this kind.
fn with_text(kind: &str, message: String, cause: worker::Error) -> worker::Error {
    let original = js_sys::Error::new(&message);
    // A new object accepts any property.
    let _ = js_sys::Reflect::set(&original, &"code".into(), &kind.into());
    worker::Error::UnknownJsError {
        original: original.into(),
        name: None,
        message,
        code: Some(kind.to_owned()),
        cause: Some(Box::new(cause)),
    }
}

/// Returns the error of a room that a [`worker::Error`] holds, or the `worker::Error` unchanged.
impl TryFrom<worker::Error> for Error {
    type Error = worker::Error;

    fn try_from(error: worker::Error) -> Result<Self, worker::Error> {
        use worker::Error::{Io, UnknownJsError};

        match error {
            Io(error) => error.downcast::<Error>().map_err(Io),
            UnknownJsError { original, name, message, code, cause: Some(cause) } => {
                Error::try_from(*cause).map_err(|cause| {
                    let cause = Some(Box::new(cause));
                    UnknownJsError { original, name, message, code, cause }
                })
            }
            error => Err(error),
        }
    }
}

/// Any error that a handler returns. The `?` operator converts every error type into it.
///
/// It is not itself a [`std::error::Error`], for the same reason as `anyhow::Error`: the conversion from every error
/// would overlap.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod counter {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub count: i64 }
///     # pub struct Connection {}
///     # pub enum Event { Add { amount: String } }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     // `Result` is `Result<(), Failure>`. Each `?` converts another error.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let Event::Add { amount } = event;
///         let amount: i64 = amount.parse()?;
///         let count = ctx.state()?.count.checked_add(amount).ok_or_else(|| Failure::msg("overflow"))?;
///         if count < 0 {
///             return Err(ctx.refuse("not below zero"));
///         }
///         ctx.update(|state| state.count = count)?;
///         Ok(())
///     }
/// }
///
/// # fn main() {
/// let room = TestRoom::<counter::Room>::new("main");
/// let kind = |amount: &str| {
///     room.send(&counter::Event::Add { amount: amount.into() }).err().map(|error| error.kind())
/// };
/// assert_eq!(kind("5"), None);
/// assert_eq!(kind("-6"), Some(ErrorKind::Refused));
/// assert_eq!(kind("five"), Some(ErrorKind::Handler));
/// # }
/// ```
pub struct Failure(Box<dyn StdError + 'static>);

impl Failure {
    /// Creates a failure from a message, which is logged. A peer does not see it: `ctx.refuse("…")` is for what it may read.
    pub fn msg(message: impl fmt::Display) -> Self {
        Failure(Box::new(Message(message.to_string())))
    }

    /// Creates a failure from any error in a box.
    ///
    /// Some libraries return a `Box<dyn Error>`; an `anyhow::Error` converts into one with `.into()`. The `?` operator
    /// cannot convert a box, because a box of an error is not an error itself.
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

    /// Creates a refusal in a function that has no [`RoomContext`](crate::RoomContext).
    ///
    /// See [`RoomContext::refuse`](crate::RoomContext::refuse).
    pub fn refuse(reason: impl fmt::Display) -> Self {
        Failure::refused(reason.to_string(), StatusCode::FORBIDDEN, None)
    }

    /// Sets the HTTP status of a refusal, from 400 to 599, in place of 403.
    ///
    /// The clients of `on_upgrade` and `on_request` get this status, and the Worker gets it from [`Error::status`] and
    /// [`Error::into_response`]. A failure that is no refusal stays unchanged.
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

    /// Returns the error inside, if it has this type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Returns the error inside.
    pub fn as_error(&self) -> &(dyn StdError + 'static) {
        &*self.0
    }

    /// Returns the kind of the runtime's [`Error`] inside.
    ///
    /// It is [`ErrorKind::Refused`] for a refusal, and [`ErrorKind::Handler`] for every other error.
    pub fn kind(&self) -> ErrorKind {
        let other = if self.as_refused().is_some() { ErrorKind::Refused } else { ErrorKind::Handler };
        self.downcast_ref::<Error>().map_or(other, Error::kind)
    }
}

impl Failure {
    /// Returns the kind for a handler that cannot refuse, or for a refusal of another room.
    ///
    /// A refusal counts as an error there.
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

/// A refusal: an expected negative answer of a handler, not a fault of the room.
#[derive(Debug)]
pub(crate) struct Refused {
    reason: String,
    status: StatusCode,
    /// The JSON of a message for the sender, in place of an error frame.
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

    /// Returns the reason for the close after the refusal. A client that gets the refusal's message does not need the
    /// reason again.
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
