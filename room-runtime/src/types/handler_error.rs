//! [`HandlerError`], for `on_error`.

use std::fmt;

use crate::{ErrorKind, Failure, PeerId};

/// An error that a handler returned, for `on_error`, with its handler and its peer. It is logged already.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub enum Broadcast { Sorry { about: String } }
///     # pub fn on_event(_ctx: &Ctx, _event: Event) -> Result {
///     #     Err(Failure::msg("the translator is down"))
///     # }
///     pub fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
///         if let Some(peer) = ctx.sender() {
///             peer.send(&Broadcast::Sorry { about: error.handler().into() })?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}));
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// # assert_eq!(ada.receive_error().map(|error| error.kind()), Some(ErrorKind::Handler));
/// assert_eq!(ada.receive(), Some(chat::Broadcast::Sorry { about: "on_event".into() }));
/// # }
/// ```
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

    /// The peer of the handler; `None` for a handler without one, for example for the Worker's `send`.
    pub fn peer(&self) -> Option<&PeerId> {
        self.peer.as_ref()
    }

    /// The error itself.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The kind of the error; see [`Failure::kind`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handler_is_named_with_its_peer() {
        let error = HandlerError::new("on_event", Some(PeerId::from("a")), Failure::msg("no"));
        assert_eq!((error.handler(), error.peer().map(PeerId::as_str)), ("on_event", Some("a")));
    }
}
