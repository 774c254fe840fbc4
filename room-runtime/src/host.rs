//! [`RoomHost`]: the engine of one room. Every rule that a room keeps is here; platforms only carry bytes.
//!
//! This file is what arrives and how handlers run. What the room remembers is in `state`, its sockets in `sockets`, how a
//! peer gets in in `connect`, who is in and who went in `roster`, what the Worker asks for in `calls`.

mod answers;
mod calls;
mod connect;
mod purge;
mod roster;
mod sockets;
mod state;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::{
    Close, DecodeError, Error, ErrorKind, Failure, HandlerError, OnInvalid, Peer, Room, RoomContext, RoomId,
    context::{interrupted, is_own_purge},
    peer::{Slot, Status},
    platform::*,
    rates::Rates,
    schedule::{Due, Schedules, What},
    tickets::Tickets,
    turn::Turn,
    wire::{self, WireError},
};

pub(crate) use self::connect::Upgraded;
pub(crate) use self::state::STATE_KEY;
use self::{answers::Answers, roster::Leaving, state::Cached};

/// The storage key of the room's id: for the ways into memory that do not tell it.
const ID_KEY: &str = "room:id";

/// How many frames of one peer may wait behind a handler that awaits, and how many bytes. A peer that sends more is told
/// so, frame by frame.
const MAX_QUEUED_FRAMES: usize = 1_024;
const MAX_QUEUED_BYTES: usize = 4 * 1_048_576;

pub(crate) struct RoomHost<R: Room> {
    pub(crate) platform: Rc<AnyPlatform>,
    pub(crate) id: RoomId,
    id_is_stored: Cell<bool>,
    services: OnceCell<R::Services>,
    make_services: MakeServices<R>,
    state: RefCell<Cached<R::State>>,
    slots: RefCell<Vec<Option<Rc<Slot<R>>>>>,
    /// How many of the slots are taken.
    met: Cell<usize>,
    rates: Rates,
    pub(crate) schedules: Schedules<R::Alarm>,
    /// Held while alarms run.
    firing: Turn,
    pub(crate) tickets: Tickets<R::Connection>,
    answers: Answers,
    started: Cell<bool>,
    /// Which of the room's lives this is: a purge begins the next.
    pub(crate) life: Cell<u64>,
    /// The handlers that wait, to be woken when the room is purged under them.
    waiting: RefCell<HashMap<u64, Waker>>,
    handlers: Cell<u64>,
    /// `None` until it was of interest.
    leaving: RefCell<Option<Leaving>>,
    /// Held while `on_start` runs; what arrives meanwhile waits for it in order.
    starting: Turn,
    /// Whether what is kept for a frame of several messages is about to leave.
    releasing: Cell<bool>,
}

/// How a room comes by its services.
pub(crate) type MakeServices<R> = Box<dyn Fn() -> Result<<R as Room>::Services, Failure>>;

impl<R: Room> RoomHost<R> {
    pub(crate) fn new(platform: Rc<AnyPlatform>, make_services: MakeServices<R>) -> Rc<Self> {
        let stored = || {
            let bytes = platform.get(ID_KEY).ok().flatten()?;
            String::from_utf8(bytes).ok()
        };
        // An object that was never addressed by a name has only its number.
        let id = platform.name().or_else(stored).unwrap_or_else(|| platform.number());
        Rc::new(RoomHost {
            id: RoomId::from(id),
            id_is_stored: Cell::new(false),
            services: OnceCell::new(),
            make_services,
            platform,
            state: RefCell::default(),
            slots: RefCell::default(),
            met: Cell::new(0),
            rates: Rates::default(),
            schedules: Schedules::default(),
            firing: Turn::default(),
            tickets: Tickets::default(),
            answers: Answers::default(),
            started: Cell::new(false),
            life: Cell::new(0),
            waiting: RefCell::default(),
            handlers: Cell::new(0),
            leaving: RefCell::default(),
            starting: Turn::default(),
            releasing: Cell::new(false),
        })
    }

    // What arrives.

    /// One frame of one peer.
    pub(crate) async fn message(self: &Rc<Self>, socket: Socket, frame: OwnedFrame) {
        if let Err(error) = self.start(true).await {
            self.tell(socket, error.kind(), error.message(), None);
            return;
        }
        let Some(peer) = self.peer(socket) else { return };
        let bytes = frame.len();
        let slot = &peer.slot;
        if let Some(limit) = R::LIMITS.rate_limit
            && let Err(wait_ms) = self.rates.take(peer.id(), limit, self.platform.now_ms())
        {
            let message =
                format!("this peer sends more than {} frames a second, this one was dropped", limit.per_second);
            self.tell(socket, ErrorKind::RateLimited, &message, Some(wait_ms));
            return;
        }
        // Before it is decoded, and before it waits for its turn: what is too large takes no memory.
        let limit = R::LIMITS.max_message_bytes;
        let frame = if bytes > limit { Err(DecodeError::too_large(bytes, limit)) } else { Ok(frame) };
        let weight = if frame.is_ok() { bytes } else { 0 };
        let queued = slot.queued_bytes.get() + weight;
        if slot.turn.is_taken() && (slot.turn.queued() >= MAX_QUEUED_FRAMES || queued > MAX_QUEUED_BYTES) {
            let message = format!(
                "{} frames of this peer are waiting, which is all that a room keeps; this one was dropped",
                slot.turn.queued()
            );
            self.tell(socket, ErrorKind::Overloaded, &message, None);
            return;
        }
        slot.queued_bytes.set(queued);
        let _turn = slot.turn.take().await;
        slot.queued_bytes.set(slot.queued_bytes.get() - weight);
        if slot.status.get() != Status::Connected {
            return;
        }
        let ctx = self.context(Some(&peer));
        match frame.and_then(wire::decode_frame) {
            Ok(event) => {
                let outcome = self.run(R::on_event(&ctx, event)).await;
                self.report(outcome, "on_event", Some(&peer), &ctx).await;
            }
            Err(error) => {
                match R::ON_INVALID {
                    OnInvalid::Report => self.tell(socket, error.kind(), error.message(), None),
                    OnInvalid::Ignore => {}
                    OnInvalid::Close => {
                        let reason = shortened(error.message());
                        // Refused when it is closing already, which is as good.
                        let _ = self.platform.close(socket, error.close_code().get(), reason);
                    }
                }
                let outcome = self.run(R::on_decode_error(&ctx, &error)).await;
                self.report(outcome, "on_decode_error", Some(&peer), &ctx).await;
            }
        }
    }

    /// A connection ended, or its peer asks to end it.
    pub(crate) async fn closed(self: &Rc<Self>, socket: Socket, mut close: Close) {
        // Nobody gave a reason for that; what stands there is the platform's word for it.
        if close.code == 1006 && !close.was_clean {
            close.reason.clear();
        }
        // Its attachment is readable now; who knows after the handshake.
        let peer = self.peer(socket);
        // First and without a wait: whatever the handlers do, the handshake completes.
        self.platform.answer_close(socket, close.code, &close.reason);
        if let Some(peer) = peer {
            if !self.has_started() || peer.slot.turn.is_taken() {
                self.note_leaving(&peer, &close);
            }
            match self.start(true).await {
                Ok(()) => self.part(&peer, close).await,
                // It stays in the roster, and is found when the room can handle something again.
                Err(error) => self.platform.log_error(&format!("{} {error}: on_close waits", R::NAME)),
            }
        }
        self.forget(socket);
        self.mind_emptiness();
    }

    /// A peer goes: `on_close`, once, behind its last frame.
    async fn part(self: &Rc<Self>, peer: &Peer<R>, close: Close) {
        let _turn = peer.slot.turn.take().await;
        if peer.slot.status.replace(Status::Gone) == Status::Connected && self.begin_departure(peer, &close) {
            let ctx = self.context(None);
            let outcome = self.run(R::on_close(&ctx, peer, close)).await;
            self.report(outcome, "on_close", Some(peer), &ctx).await;
        }
    }

    /// A room that everyone has left may be kept for a while only.
    fn mind_emptiness(&self) {
        if R::PURGE_AFTER_MS > 0 && self.started.get() && self.is_deserted() {
            let due_ms = self.platform.now_ms().saturating_add(R::PURGE_AFTER_MS);
            let planned = self.schedules.cancel_own(self.platform.as_ref(), |what| matches!(what, What::Purge));
            let planned = planned
                .and_then(|()| self.store_id())
                .and_then(|()| self.schedules.add(self.platform.as_ref(), What::Purge, None, due_ms, None).map(drop));
            if let Err(error) = planned {
                self.platform.log_error(&error.in_room(&self.id).to_string());
            }
        }
    }

    /// Closes a connection whose peer may never answer: what follows does not wait for it.
    pub(crate) fn retire(self: &Rc<Self>, peer: &Peer<R>, code: crate::CloseCode, reason: &'static str) {
        peer.slot.is_final.set(true);
        // One that is closing already changes nothing here.
        let _ = self.platform.close(peer.slot.socket, code.get(), reason);
        let close = Close::new(code.get(), reason, true);
        if peer.slot.turn.is_taken() {
            self.note_leaving(peer, &close);
        }
        let (host, peer) = (self.clone(), peer.clone());
        self.platform.spawn(Box::pin(async move { host.part(&peer, close).await }));
    }

    /// Whether anything can come of an alarm.
    pub(crate) const HAS_ALARMS: bool = R::HAS_ON_ALARM || R::RECONNECT_GRACE_MS > 0 || R::PURGE_AFTER_MS > 0;

    /// The object's alarm: runs what is due, in order of time. An error is one of storage; what a handler fails with is
    /// reported, and its alarm stays for another try.
    pub(crate) async fn alarm(self: Rc<Self>) -> Result<(), Error> {
        self.start(false).await?;
        let _turn = self.firing.take().await;
        while let Some(due) = self.schedules.begin(self.platform.as_ref()).map_err(|error| error.in_room(&self.id))? {
            // A handler's failure has been reported, and is tried again.
            let _ = self.fire(due).await.map_err(|error| error.in_room(&self.id))?;
        }
        Ok(())
    }

    /// The Worker's `fire_alarm`: whether there was one.
    async fn fire_alarm(self: Rc<Self>) -> Result<bool, WireError> {
        let _turn = self.firing.take().await;
        match self.schedules.begin_next(self.platform.as_ref()).map_err(|error| WireError::from(&error))? {
            None => Ok(false),
            Some(due) => self.fire(due).await.map_err(|error| WireError::from(&error))?.map(|()| true),
        }
    }

    /// Runs one schedule: an error is one of storage, what a handler fails with is inside.
    async fn fire(self: &Rc<Self>, due: Due<R::Alarm>) -> Result<Result<(), WireError>, Error> {
        let Due { id, number, what, failure } = due;
        match what {
            What::Alarm(alarm) => {
                let ctx = RoomContext { failure, ..self.context(None) };
                let outcome = self.run(R::on_alarm(&ctx, alarm)).await;
                match outcome {
                    Err(failure) if !is_own_purge(&failure) => {
                        let error = calls::handler_error("on_alarm", &failure);
                        let stays = self.schedules.fail(self.platform.as_ref(), (id, number));
                        self.report(Err(failure), "on_alarm", None, &ctx).await;
                        return stays.map(|()| Err(error));
                    }
                    _ => {}
                }
            }
            What::Grace(name) => {
                self.end_grace(&name).await;
                self.mind_emptiness();
            }
            What::Purge => {
                if self.is_deserted() {
                    return self.purge().map(Ok);
                }
            }
        }
        self.schedules.finish(self.platform.as_ref(), (id, number)).map(Ok)
    }

    /// Work that a handler left behind.
    pub(crate) fn spawn<F>(self: &Rc<Self>, work: F)
    where
        F: AsyncFnOnce(RoomContext<R>) -> Result<(), Failure> + 'static,
    {
        // Of the life in which it is spawned: a purge that comes before it runs ends it.
        let (host, ctx) = (self.clone(), self.context(None));
        self.platform.spawn(Box::pin(async move {
            if ctx.alive().is_err() {
                return;
            }
            let outcome = host.run(work(ctx.clone())).await;
            host.report(outcome, "spawn", None, &ctx).await;
        }));
    }

    /// Before anything else that is handled: the room's services, then `on_start`, then those who vanished while the room
    /// was not there. An error is that of the services, and the next event tries again.
    ///
    /// `by_socket` says that one of the room's own sockets is what brings it into memory.
    pub(crate) async fn start(self: &Rc<Self>, by_socket: bool) -> Result<(), Error> {
        if self.has_started() {
            return Ok(());
        }
        let _turn = self.starting.take().await;
        if !self.started.get() {
            self.prepare_services()?;
            let ctx = self.context(None);
            let outcome = self.run(R::on_start(&ctx)).await;
            self.started.set(true);
            self.report(outcome, "on_start", None, &ctx).await;
            self.see_off_the_lost(by_socket).await;
        }
        Ok(())
    }

    /// Who came while the room started goes first, also when that has just ended.
    fn has_started(&self) -> bool {
        self.started.get() && !self.starting.is_taken()
    }

    async fn see_off_the_lost(self: &Rc<Self>, by_socket: bool) {
        match self.find_lost(by_socket) {
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => {
                for (peer, close) in lost {
                    self.part(&peer, close).await;
                }
                self.mind_emptiness();
            }
            Err(error) => self.platform.log_error(&error.in_room(&self.id).to_string()),
        }
    }

    fn prepare_services(&self) -> Result<(), Error> {
        if self.services.get().is_some() {
            return Ok(());
        }
        match (self.make_services)() {
            Ok(services) => {
                self.services.get_or_init(|| services);
                Ok(())
            }
            Err(failure) => {
                self.platform.log_error(&format!("{} room `{}`: services failed: {failure}", R::NAME, self.id));
                // What it says may be a secret's name: that is for the log.
                let message = "the room has no services, see its log";
                Err(Error::new(ErrorKind::Services, message).in_room(&self.id))
            }
        }
    }

    pub(crate) fn services(&self) -> &R::Services {
        // No handler runs before `prepare_services` has succeeded.
        self.services.get().expect("a handler runs, so there are services")
    }

    // Handlers.

    pub(crate) fn context(self: &Rc<Self>, sender: Option<&Peer<R>>) -> RoomContext<R> {
        RoomContext { host: self.clone(), sender: sender.cloned(), life: self.life.get(), failure: None }
    }

    /// Runs a handler: what it changed is stored before it first waits, each time it waits, and at its end. A purge ends it.
    async fn run<T, E: From<Error>>(&self, handler: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut handler = pin!(handler);
        let life = self.life.get();
        let number = self.handlers.replace(self.handlers.get() + 1);
        let mut waits = false;
        let outcome = poll_fn(|cx| {
            if self.life.get() != life {
                return Poll::Ready(Err(interrupted().in_room(&self.id).into()));
            }
            let poll = handler.as_mut().poll(cx);
            if self.life.get() != life {
                return match poll {
                    Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                    // What it does beyond its own purge is of no effect.
                    _ => Poll::Ready(Err(interrupted().in_room(&self.id).into())),
                };
            }
            if poll.is_pending() {
                waits = true;
                self.waiting.borrow_mut().insert(number, cx.waker().clone());
            }
            // A handler's own failure says more than the write that came after it, which is logged.
            match (self.flush(), poll) {
                (Ok(()), poll) => poll,
                (Err(error), Poll::Ready(Ok(_))) => Poll::Ready(Err(error.into())),
                (Err(error), poll) => {
                    self.platform.log_error(&error.to_string());
                    poll
                }
            }
        })
        .await;
        if waits {
            self.waiting.borrow_mut().remove(&number);
        }
        outcome
    }

    /// What a handler failed with: to the log, and to `on_error`.
    async fn report(
        &self,
        outcome: Result<(), Failure>,
        handler: &'static str,
        peer: Option<&Peer<R>>,
        ctx: &RoomContext<R>,
    ) {
        let Err(failure) = outcome else { return };
        // The room's own doing, not a failure.
        if is_own_purge(&failure) || ctx.alive().is_err() {
            return;
        }
        let error = HandlerError::new(handler, peer.map(|peer| peer.id().clone()), failure);
        self.report_error(&error, ctx).await;
    }

    async fn report_error(&self, error: &HandlerError, ctx: &RoomContext<R>) {
        self.log(error);
        if let Err(failure) = self.run(R::on_error(ctx, error)).await {
            self.log(&HandlerError::new("on_error", error.peer().cloned(), failure));
        }
    }

    fn log(&self, error: &HandlerError) {
        let (name, room) = (R::NAME, &self.id);
        self.platform.log_error(&match error.peer() {
            Some(_) => format!("{name} room `{room}`, {error}"),
            None => format!("{name} room `{room}`: {error}"),
        });
    }

    /// Sends one peer an error frame.
    fn tell(self: &Rc<Self>, socket: Socket, code: ErrorKind, message: &str, retry_after_ms: Option<u64>) {
        let frame = wire::error_frame(code, message, retry_after_ms);
        // One that cannot be told is closing, or does not read: there is no one to tell.
        self.transmit(Frame::Text(&frame), Audience::Only(&[socket]));
    }

    /// Sees to it that the room knows its id when an alarm is what brings it into memory.
    pub(crate) fn store_id(&self) -> Result<(), Error> {
        if self.id_is_stored.get() {
            return Ok(());
        }
        let id = self.id.as_str().as_bytes();
        let stored = self.platform.get(ID_KEY).and_then(|stored| match stored {
            Some(stored) if stored == id => Ok(()),
            _ => self.platform.put(ID_KEY, id),
        });
        stored.map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's id could not be stored: {refusal}")).in_room(&self.id)
        })?;
        self.id_is_stored.set(true);
        Ok(())
    }

    /// Lets go of everything that storage, or the sockets, can give back.
    pub(crate) fn release_memory(&self) {
        self.release_state();
        self.slots.take();
        self.met.set(0);
        self.rates.clear();
        self.schedules.clear();
        self.answers.clear();
    }
}

impl<R: Room> fmt::Debug for RoomHost<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHost").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}

/// As much of a text as the reason of a close can carry.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(crate::peer::MAX_REASON_BYTES)]
}

#[cfg(test)]
mod tests;
