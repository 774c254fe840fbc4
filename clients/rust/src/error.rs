//! [`Error`], [`CallError`] and their parts.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use serde::Deserialize;

/// An error of a provider or of a transport, of any type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of the room or of the client. [`kind`](Error::kind) and [`code`](Error::code) tell them apart.
///
/// ```
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// let error = room.send(&Event::Say { text: String::new() }).await.expect_err("an empty text is refused");
/// assert_eq!(error.kind(), room_client::ErrorKind::Room);
/// assert_eq!(error.code(), "refused");
/// assert_eq!(error.to_string(), "say something (refused)");
/// // The event was the first of the session.
/// assert_eq!(error.number(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    /// The room's code, if it is an error of the room.
    code: Option<String>,
    message: String,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    number: Option<u64>,
    status: Option<u16>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of an [`Error`].
///
/// ```
/// use room_client::{Error, ErrorKind};
///
/// /// Returns whether the room may have handled an event that failed.
/// fn may_be_handled(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::SessionLost | ErrorKind::NoAnswer | ErrorKind::Closed)
/// }
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// let error = room.send(&Event::Say { text: String::new() }).await.expect_err("refused");
/// assert!(!may_be_handled(&error));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The room's error. [`Error::code`] is that of its error frame, such as `refused`, `invalid` or `restarted`.
    Room,
    /// The connection was closed for good: by [`Client::close`](crate::Client::close), because the last handle was dropped, or by the room.
    Closed,
    /// There is no connection at this moment, and the frame does not wait for one.
    NotOpen,
    /// The room does not know the session any more: it is unknown whether the event was handled.
    SessionLost,
    /// The queue is full, and its policy is to refuse.
    QueueFull,
    /// The event was the oldest of a full queue whose policy is to drop it.
    QueueDropped,
    /// A connection that was not opened in time, or from which no frame arrived after a heartbeat.
    Timeout,
    /// A close code or a reason that a client cannot close with.
    InvalidClose,
    /// A value that is not serializable, or arguments of a call that are no struct and no map.
    Encode,
    /// A frame, a message or an answer that is not what its type says.
    Decode,
    /// The room settled the call without an answer: it may have run.
    NoAnswer,
    /// The server does not speak the protocol.
    Protocol,
    /// The server refused the upgrade. [`Error::status`] is that of its response.
    UpgradeRefused,
    /// As many attempts in a row failed as [`Reconnect::max_attempts`](crate::Reconnect::max_attempts) allows.
    Unreachable,
    /// The network or the socket failed.
    Connection,
    /// The provider of the endpoint failed, or the endpoint is not valid.
    Endpoint,
}

impl ErrorKind {
    const fn code(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Closed => "closed",
            Self::NotOpen => "not_open",
            Self::SessionLost => "session_lost",
            Self::QueueFull => "queue_full",
            Self::QueueDropped => "queue_dropped",
            Self::Timeout => "timeout",
            Self::InvalidClose => "invalid_close",
            Self::Encode => "unencodable",
            Self::Decode => "decode",
            Self::NoAnswer => "no_answer",
            Self::Protocol => "protocol",
            Self::UpgradeRefused => "upgrade_refused",
            Self::Unreachable => "unreachable",
            Self::Connection => "connection",
            Self::Endpoint => "endpoint",
        }
    }
}

/// One broken rule of an event.
///
/// ```
/// use room_client::Error;
///
/// /// Returns the fields to mark in a form, with the rules that they break.
/// fn to_mark(error: &Error) -> Vec<String> {
///     let violations = error.violations().iter();
///     violations.map(|violation| format!("{}: {}", violation.path, violation.message)).collect()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Violation {
    /// The path of the field; empty for the event itself.
    #[serde(default)]
    pub path: String,
    /// The rule that is broken.
    #[serde(default)]
    pub message: String,
}

/// An error as the room writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct WireError {
    pub(crate) n: Option<u64>,
    code: String,
    #[serde(default)]
    message: String,
    retry_after_ms: Option<u64>,
    violations: Option<Vec<Violation>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            code: None,
            message: message.into(),
            retry_after: None,
            violations: Vec::new(),
            number: None,
            status: None,
            source: None,
        }))
    }

    pub(crate) fn of_the_room(error: WireError) -> Self {
        let WireError { n, code, message, retry_after_ms, violations } = error;
        let mut this = Error::new(ErrorKind::Room, message);
        this.0.code = Some(code);
        this.0.number = n;
        this.0.retry_after = retry_after_ms.map(Duration::from_millis);
        this.0.violations = violations.unwrap_or_default();
        this
    }

    pub(crate) fn with_number(mut self, number: Option<u64>) -> Self {
        self.0.number = number;
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.0.retry_after = retry_after;
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The room's code, such as `refused`, `rate_limited` or `restarted`; or the client's own, such as `session_lost`.
    pub fn code(&self) -> &str {
        self.0.code.as_deref().unwrap_or_else(|| self.0.kind.code())
    }

    /// The text of the error, without its code and its source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The time after which the room or the server accepts the event or the connection, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The broken rules, if [`code`](Error::code) is `invalid`.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// The number of the event or the call, if it was sent.
    pub fn number(&self) -> Option<u64> {
        self.0.number
    }

    /// The HTTP status of the response that refused the upgrade.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.code())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, code, message, retry_after, violations, number, status, source } = &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", kind);
        if let Some(code) = code {
            debug.field("code", code);
        }
        debug.field("message", message);
        if let Some(time) = retry_after {
            debug.field("retry_after", time);
        }
        if !violations.is_empty() {
            debug.field("violations", violations);
        }
        if let Some(number) = number {
            debug.field("number", number);
        }
        if let Some(status) = status {
            debug.field("status", status);
        }
        if let Some(source) = source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The failure of a [call](crate::Client::call).
///
/// ```
/// use room_client::{CallError, Client};
///
/// #[derive(Debug, serde::Deserialize)]
/// enum RenameError {
///     Taken { by: String },
/// }
///
/// /// Returns an answer for the user.
/// async fn rename(room: &Client<()>, name: &str) -> String {
///     match room.call::<u32, RenameError>("rename", &serde_json::json!({ "name": name })).await {
///         Ok(_) => format!("You are {name} now."),
///         Err(CallError::Returned(RenameError::Taken { by })) => format!("{by} has that name."),
///         Err(CallError::Failed(error)) => format!("That did not work: {error}"),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub enum CallError<E> {
    /// The error that the function itself returned.
    Returned(E),
    /// The call has no result: an error of the room or of the client.
    Failed(Error),
}

impl<E> CallError<E> {
    /// The error that the function itself returned.
    pub fn returned(self) -> Option<E> {
        match self {
            CallError::Returned(error) => Some(error),
            CallError::Failed(_) => None,
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        CallError::Failed(error)
    }
}

impl<E: fmt::Debug> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The function's error has a type of its own, which need not be displayable.
            CallError::Returned(error) => write!(f, "the function returned the error {error:?}"),
            CallError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            CallError::Returned(_) => None,
            CallError::Failed(error) => error.source(),
        }
    }
}

/// For `?` in a Worker.
#[cfg(any(feature = "room", all(feature = "worker", target_arch = "wasm32")))]
mod of_a_worker {
    use std::fmt;

    #[cfg(feature = "room")]
    use room_runtime::worker;

    use super::{CallError, Error};

    impl From<Error> for worker::Error {
        fn from(error: Error) -> Self {
            worker::Error::RustError(error.to_string())
        }
    }

    impl<E: fmt::Debug> From<CallError<E>> for worker::Error {
        fn from(error: CallError<E>) -> Self {
            worker::Error::RustError(error.to_string())
        }
    }
}
