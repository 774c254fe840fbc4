//! Runs the handlers of a room: a purge ends them, their changes are stored, and their failures are reported.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use super::{Invocation, RoomHost, replay::Whom, room::Handling};
use crate::{
    Error, ErrorKind, Failure, HandlerError,
    engine::{
        purge::{interrupted, is_own_purge},
        slot::{Slot, Status},
        trace::HandlerSpan,
    },
    platform::*,
    types::error::Refused,
    wire::Notice,
};

/// The registration of a handler in `RoomHost::waiting`. Dropping it removes the waker.
struct Waiting<'a> {
    number: u64,
    waiting: &'a RefCell<HashMap<u64, Waker>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Most handlers never wait: skip the lookup.
        if !self.waiting.borrow().is_empty() {
            self.waiting.borrow_mut().remove(&self.number);
        }
    }
}

/// The error type of a handler.
pub(super) trait HandlerFailure {
    fn of(error: Error) -> Self;
    fn is_refusal(&self) -> bool;
    fn is_purge(&self) -> bool;
}

impl HandlerFailure for Failure {
    fn of(error: Error) -> Self {
        Failure::from(error)
    }

    fn is_refusal(&self) -> bool {
        self.as_refused().is_some()
    }

    fn is_purge(&self) -> bool {
        self.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::Purged)
    }
}

impl Invocation {
    /// Checks that no purge has ended the life of the room that the handler belongs to.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        self.host.check_life(self.life)
    }
}

impl RoomHost {
    pub(crate) fn invocation(self: &Rc<Self>, sender: Option<&Rc<Slot>>) -> Invocation {
        Invocation { host: self.clone(), sender: sender.cloned(), life: self.life.get(), failure: None }
    }

    /// Checks that no purge has ended this life of the room.
    pub(crate) fn check_life(&self, life: u64) -> Result<(), Error> {
        if self.life.get() == life { Ok(()) } else { Err(interrupted().in_room(&self.id)) }
    }

    #[expect(clippy::expect_used, reason = "`ctx.services()` has no failure, and no handler runs before the start")]
    pub(crate) fn services(&self) -> &dyn Any {
        &**self.services.get().expect("a handler runs, so there are services")
    }

    /// Runs a handler. Its changes are stored before each wait and at its end. A purge ends it.
    pub(super) async fn run<T, E: HandlerFailure>(
        &self,
        name: &'static str,
        peer: Option<&Slot>,
        mut handler: Handling<T, E>,
    ) -> Result<T, E> {
        let span = HandlerSpan::of(self, name, peer);
        let life = self.life.get();
        let number = self.handlers.replace(self.handlers.get() + 1);
        let waiting = Waiting { number, waiting: &self.waiting };
        let outcome = poll_fn(|cx| {
            if self.life.get() != life {
                return Poll::Ready(Err(E::of(interrupted().in_room(&self.id))));
            }
            let poll = span.within(|| handler.as_mut().poll(cx));
            if self.life.get() != life {
                return match poll {
                    Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                    // The handler purged the room itself and then went on: the rest has no effect.
                    _ => Poll::Ready(Err(E::of(interrupted().in_room(&self.id)))),
                };
            }
            if poll.is_pending() {
                self.waiting.borrow_mut().insert(number, cx.waker().clone());
            }
            match (self.flush(), poll) {
                (Ok(()), poll) => poll,
                // The handler's own failure explains more than the failed write, which is logged. A refusal does not
                // hide the failed write: it would imply that the earlier changes are stored.
                (Err(error), Poll::Ready(Err(failure))) if !failure.is_refusal() => {
                    self.log_error(&error.to_string());
                    Poll::Ready(Err(failure))
                }
                // The handler ends even if it still waits: its next steps would build on a change that is not stored.
                (Err(error), _) => Poll::Ready(Err(E::of(error))),
            }
        })
        .await;
        drop(waiting);
        span.end(self, || match &outcome {
            Ok(_) => "ok",
            Err(failure) if failure.is_refusal() => "refused",
            Err(failure) if failure.is_purge() => "purged",
            Err(_) => "failed",
        });
        outcome
    }

    /// Runs a task beside the handler that spawned it. A purge ends the task, even before it has begun.
    pub(crate) fn spawn(self: &Rc<Self>, call: Invocation, work: Handling) {
        let host = self.clone();
        self.platform.spawn(Box::pin(async move {
            if call.alive().is_err() {
                return;
            }
            let outcome = host.run("spawn", call.sender.as_deref(), work).await;
            host.report(outcome, "spawn", &call).await;
        }));
    }

    /// Logs the failure of a handler and runs `on_error`.
    pub(super) async fn report(&self, outcome: Result<(), Failure>, handler: &'static str, call: &Invocation) {
        let Err(failure) = outcome else { return };
        // The handler's own purge is not a failure.
        if is_own_purge(&failure) || call.alive().is_err() {
            return;
        }
        let peer = call.sender.as_ref().map(|slot| slot.id.clone());
        self.report_error(HandlerError::new(handler, peer, failure), call).await;
    }

    pub(super) async fn report_error(&self, error: HandlerError, call: &Invocation) {
        self.counters.failed();
        self.log(&error);
        let peer = error.peer().cloned();
        if let Err(failure) =
            self.run("on_error", call.sender.as_deref(), self.room.code.on_error(call.clone(), error)).await
            && !is_own_purge(&failure)
        {
            self.counters.failed();
            self.log(&HandlerError::new("on_error", peer, failure));
        }
    }

    fn log(&self, error: &HandlerError) {
        let (name, room) = (self.room.name, &self.id);
        let message = match error.peer() {
            Some(_) => format!("{name} room `{room}`, {error}"),
            None => format!("{name} room `{room}`: {error}"),
        };
        self.log_failure(error, &message);
    }

    /// Answers the sender of an event whose handler failed. The text of the failure goes only to the log.
    pub(super) fn answer_failure(self: &Rc<Self>, notice: Notice<'_>, to: &Slot, number: u64) {
        if to.status.get() != Status::Gone && to.socket.get() != NO_SOCKET {
            self.send_notice(notice, number, to);
        }
    }

    /// Sends the message or the error frame of a refusal to the peer; does nothing for any other failure.
    ///
    /// `number` is that of the refused frame, for a client of `room.v1`.
    pub(super) fn answer_refusal(self: &Rc<Self>, failure: &Failure, to: &Slot, number: u64) {
        if let Some(refused) = failure.as_refused() {
            self.note_refused(Some(to), ErrorKind::Refused);
            self.settle_failed(to, self.life.get(), number, refusal(refused));
            self.send_refusal(failure, to, number);
        }
    }

    /// Sends a refusal without counting it.
    pub(super) fn send_refusal(self: &Rc<Self>, failure: &Failure, to: &Slot, number: u64) {
        let Some(refused) = failure.as_refused() else { return };
        // The connection may have ended while the handler waited.
        if to.status.get() == Status::Gone || to.socket.get() == NO_SOCKET {
            return;
        }
        match refused.message() {
            Some(message) => {
                // A send fails only if the socket is closing.
                if let Err(error) = self.send_json(message, Audience::Only(&[to.socket.get()]), &Whom::Peer(to)) {
                    self.log_error(&error.to_string());
                }
            }
            None => return self.send_notice(refusal(refused), number, to),
        }
        // The message is not the outcome of a number.
        if number > 0 {
            self.send_notice(refusal(refused), number, to);
        }
    }
}

fn refusal(refused: &Refused) -> Notice<'_> {
    Notice::error(ErrorKind::Refused, refused.reason(), None)
}

/// Turns a refusal into a success: it has been answered and is not reported.
pub(super) fn unless_refused(outcome: Result<(), Failure>) -> Result<(), Failure> {
    outcome.or_else(|failure| failure.as_refused().map(drop).ok_or(failure))
}
