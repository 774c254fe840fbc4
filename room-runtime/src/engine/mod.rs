//! [`RoomHost`]: the engine of one room. It implements every rule of a room; platforms only carry bytes.
//!
//! The engine does not know the types of a room. It holds a state and the peers' data as [`Value`]s, and calls the
//! room's code through the table of its [`RoomType`]. It is compiled once for all rooms of a program.
//!
//! This file handles incoming frames and closes. The other modules:
//!
//! - `room` is the table of a room type, `handlers` runs its handlers, `start` starts a room, `purge` ends its life.
//! - `stats` counts what happens, `trace` tells it to the user's subscriber.
//! - `state` holds the stored state, `slot` is the record of a peer, `sockets` has the sockets and their attachments.
//! - `transaction` keeps or rolls back what a closure stores, `migrations` changes the tables of the database once.
//! - `tickets` joins the halves of an upgrade, `upgrade` admits peers, `reconnect` gives them their places back,
//!   `roster` keeps places and presence, `users` has the handlers of users, `selection` selects peers.
//! - `schedules` stores what will be due, `alarms` fires it, `liveness` closes silent peers in the alarm.
//! - `codecs` decodes frames and sends messages in the codec of each peer.
//! - `sessions` has the numbers of clients of `room.v1`, and the outcomes of their frames.
//! - `replay` logs the messages for clients that resume.
//! - `topics` holds the peers' subscriptions and selects the subscribers.
//! - `commands` serves the Worker's client, `idempotency` keeps the answers to its calls with a key.
//! - `outbox` stores and delivers durable calls to other rooms, `inbox` handles each of theirs once.
//! - `fair_lock` is the turn of a peer and of a start, `rates` limits the rate of frames with the buckets of `rate_limiter`.

mod alarms;
pub(crate) mod codecs;
mod commands;
pub(crate) mod fair_lock;
mod handlers;
mod idempotency;
mod inbox;
mod liveness;
mod migrations;
mod outbox;
pub(crate) mod purge;
mod rate_limiter;
mod rates;
mod reconnect;
pub(crate) mod replay;
pub(crate) mod room;
pub(crate) mod roster;
pub(crate) mod schedules;
pub(crate) mod selection;
pub(crate) mod sessions;
pub(crate) mod slot;
mod sockets;
mod start;
mod state;
mod stats;
pub(crate) mod tickets;
pub(crate) mod topics;
mod trace;
mod transaction;
pub(crate) mod upgrade;
mod users;

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    fmt,
    rc::Rc,
    task::Waker,
};

use self::{
    codecs::{Asked, Opened},
    idempotency::Answers,
    outbox::HeldOutbox,
    rates::Limited,
    replay::Log,
    sessions::{Sequence, Session, Sessions},
    state::Cached,
    stats::Counters,
    transaction::Running,
    users::Visit,
};
pub(crate) use self::{
    room::{Invocation, MakeServices, RoomType, Value},
    upgrade::Upgraded,
};
use crate::{
    Close, DecodeError, Error, ErrorKind, Failure, OnInvalid, PeerId, RoomId,
    engine::{
        codecs::Decoded,
        fair_lock::FairLock,
        purge::is_own_purge,
        rate_limiter::RateLimiter,
        schedules::Schedules,
        slot::{Slot, Status},
        tickets::Tickets,
        topics::Topics,
    },
    platform::*,
    types::brief::prefix,
    wire::{self, Notice, keys},
};

/// The reason why a frame that waited for its turn is not handled.
enum Unfit {
    Invalid(DecodeError),
    Limited(Limited),
}

impl From<DecodeError> for Unfit {
    fn from(error: DecodeError) -> Self {
        Unfit::Invalid(error)
    }
}

/// The most frames, and the most bytes, of one peer that wait while a handler of that peer runs. The room drops each
/// further frame and answers it with an error frame.
const MAX_QUEUED_FRAMES: usize = 1_024;
const MAX_QUEUED_BYTES: usize = 4 * 1_048_576;

pub(crate) struct RoomHost {
    pub(crate) room: &'static RoomType,
    pub(crate) platform: Rc<AnyPlatform>,
    pub(crate) id: RoomId,
    id_is_stored: Cell<bool>,
    services: OnceCell<Box<dyn Any>>,
    make_services: MakeServices,
    state: RefCell<Cached>,
    running: Running,
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    /// The number of occupied entries in `slots`.
    known_sockets: Cell<usize>,
    rates: RateLimiter,
    counters: Counters,
    pub(crate) schedules: Schedules,
    pub(crate) tickets: Tickets,
    answers: Answers,
    sessions: Sessions,
    log: Log,
    topics: Topics,
    /// The room's outbox, in a room that has one. Only `outbox` makes it.
    outbox: OnceCell<Box<dyn HeldOutbox>>,
    /// The turns of the sources whose durable calls are being handled.
    inbox: RefCell<inbox::Turns>,
    started: Cell<bool>,
    /// The number of the room's current life. A purge increments it.
    pub(crate) life: Cell<u64>,
    /// The wakers of the handlers that wait. A purge wakes them, so that they end at once.
    waiting: RefCell<HashMap<u64, Waker>>,
    handlers: Cell<u64>,
    /// The peers that are away, by the names of their places. A handler can hold such a peer, so a place has one slot.
    away: RefCell<HashMap<String, Rc<Slot>>>,
    /// The peers whose connection has ended and whose end is not handled yet, by the names of their roster entries.
    departing: RefCell<HashMap<String, Rc<Slot>>>,
    /// The users whose handlers are not all over.
    visits: RefCell<HashMap<PeerId, Rc<Visit>>>,
    /// `Some(true)` if any peer has joined in this life; `None` until it is first read.
    joined: Cell<Option<bool>>,
    /// True if this incarnation has set the platform's alarm.
    is_armed: Cell<bool>,
    /// The number of failed starts in a row.
    failed_starts: Cell<u32>,
    /// Taken while the room starts. Other events wait for it in order of arrival.
    starting: FairLock,
    /// True if a timer is running that will send the batched messages.
    releasing: Cell<bool>,
}

impl RoomHost {
    pub(crate) fn new(room: &'static RoomType, platform: Rc<AnyPlatform>, make_services: MakeServices) -> Rc<Self> {
        let stored = || {
            let bytes = platform.get(keys::ID).ok().flatten()?;
            String::from_utf8(bytes).ok()
        };
        // An object that was never addressed by a name has only the platform's object id.
        let id = platform.name().or_else(stored).unwrap_or_else(|| platform.number());
        Rc::new(RoomHost {
            room,
            id: RoomId::from(id),
            id_is_stored: Cell::new(false),
            services: OnceCell::new(),
            make_services,
            counters: Counters::starting_at(platform.now_ms()),
            platform,
            state: RefCell::default(),
            running: Running::default(),
            slots: RefCell::default(),
            known_sockets: Cell::new(0),
            rates: RateLimiter::default(),
            schedules: Schedules::new(
                room.has_on_alarm,
                room.parts.delivering.is_some(),
                room.parts.liveness.as_ref().map(|liveness| liveness.next_check),
            ),
            tickets: Tickets::default(),
            answers: Answers::default(),
            sessions: Sessions::default(),
            log: Log::default(),
            topics: Topics::default(),
            outbox: OnceCell::new(),
            inbox: RefCell::default(),
            started: Cell::new(false),
            life: Cell::new(0),
            waiting: RefCell::default(),
            handlers: Cell::new(0),
            away: RefCell::default(),
            departing: RefCell::default(),
            visits: RefCell::default(),
            joined: Cell::new(None),
            is_armed: Cell::new(false),
            failed_starts: Cell::new(0),
            starting: FairLock::default(),
            releasing: Cell::new(false),
        })
    }

    /// Handles one frame of one peer.
    pub(crate) async fn message(self: &Rc<Self>, socket: Socket, frame: OwnedFrame) {
        let Some(slot) = self.slot_of(socket) else { return };
        // The room has timed this connection out, and its peer waits for its turn to leave.
        if slot.ended.borrow().is_some() {
            return;
        }
        let bytes = frame.len();
        self.counters.received(bytes);
        let session = slot.session.borrow().clone();
        let number = session.as_ref().map_or(0, |session| session.number_of(&frame));
        let mut frame = Ok(frame);
        if let Some(rates) = &self.room.parts.rates
            && let Err(limited) = (rates.admit)(self, &slot)
        {
            // The error of a frame with a number waits for its turn, because the numbers are settled in order.
            if number == 0 {
                return self.answer_limited(limited, &slot, 0);
            }
            frame = Err(Unfit::Limited(limited));
        }
        // The size is checked before decoding and before queueing, so that an oversized frame takes no memory.
        let limit = self.room.limits.max_message_bytes;
        if bytes > limit && frame.is_ok() {
            frame = Err(Unfit::Invalid(DecodeError::too_large(bytes, limit)));
        }
        let weight = if frame.is_ok() { bytes } else { 0 };
        if !self.has_space(&slot, weight) {
            self.note_refused(Some(&slot), ErrorKind::Overloaded);
            match session {
                Some(session) if number > 0 => session.note_dropped(),
                _ => self.answer_overload(&slot),
            }
            return;
        }
        slot.queued_bytes.set(slot.queued_bytes.get() + weight);
        slot.queued_frames.set(slot.queued_frames.get() + 1);
        let _turn = slot.turn.take().await;
        slot.queued_bytes.set(slot.queued_bytes.get() - weight);
        slot.queued_frames.set(slot.queued_frames.get() - 1);
        // A purge has ended this connection. Handling the frame would start the room's next life.
        if slot.status.get() == Status::Gone {
            return;
        }
        // The start comes after the queue, so that frames which wait for the start count against the queue's limits.
        if let Err(error) = self.start(true).await {
            self.note_refused(Some(&slot), error.kind());
            self.send_notice(Notice::error(error.kind(), error.message(), None), number, &slot);
            return;
        }
        if slot.is_closing.get() {
            return;
        }
        self.user_stays(&slot, true).await;
        if slot.status.get() != Status::Connected || slot.is_closing.get() {
            return;
        }
        match session {
            None => _ = self.handle(&slot, socket, frame.map(Asked::Event), 0).await,
            Some(session) => {
                let _turn = session.turn.take().await;
                // A purge may have ended the connection while the last handler of an earlier one ran.
                if slot.status.get() != Status::Connected || slot.is_closing.get() {
                    return;
                }
                self.handle_in_session(&slot, &session, socket, frame, number).await;
            }
        }
    }

    /// Returns whether one more frame of a peer may wait.
    fn has_space(&self, slot: &Slot, weight: usize) -> bool {
        let is_full = slot.turn.queued() >= MAX_QUEUED_FRAMES || slot.queued_bytes.get() + weight > MAX_QUEUED_BYTES;
        !slot.turn.is_taken() || !is_full
    }

    fn answer_overload(self: &Rc<Self>, slot: &Slot) {
        let message = format!(
            "{} frames of this peer are waiting, which is all that a room keeps; this one was dropped",
            slot.turn.queued()
        );
        self.send_notice(Notice::error(ErrorKind::Overloaded, &message, None), 0, slot);
    }

    /// Decodes an event or a call and runs its handler. Its errors are answered with its number.
    ///
    /// Returns true if the handler succeeded.
    async fn handle(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        socket: Socket,
        asked: Result<Asked, Unfit>,
        number: u64,
    ) -> bool {
        let call = self.invocation(Some(slot));
        let life = call.life;
        // A reconnect may have moved the peer to another socket while the frame waited.
        match asked.and_then(|asked| Ok(self.decode(call, socket, asked)?)) {
            Ok(Decoded { handling, handler, cost }) => {
                if let Some(rates) = &self.room.parts.rates
                    && let Err(limited) = (rates.charge)(self, slot, cost)
                {
                    self.answer_limited(limited, slot, number);
                    return false;
                }
                let outcome = self.run(handler, Some(slot), handling).await;
                let Err(failure) = outcome else { return true };
                self.event_failed(slot, life, handler, failure, number).await;
            }
            Err(Unfit::Invalid(error)) => self.invalid(slot, error, number).await,
            Err(Unfit::Limited(limited)) => self.answer_limited(limited, slot, number),
        }
        false
    }

    /// Handles a frame of a client of `room.v1`, in the sequence of its numbers.
    async fn handle_in_session(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        session: &Rc<Session>,
        socket: Socket,
        frame: Result<OwnedFrame, Unfit>,
        number: u64,
    ) {
        let life = self.life.get();
        if number > 0 {
            match self.sequence_of(session, number) {
                Ok(Sequence::Next) => {}
                Ok(Sequence::Repeated) => return self.repeat_outcome(slot, session, number),
                Ok(Sequence::Early) => return self.ask_for_missing(slot, session),
                Err(error) => {
                    return self.send_notice(Notice::error(error.kind(), error.message(), None), number, slot);
                }
            }
        }
        let asked = match frame.map(|frame| self.open_frame(socket, frame)) {
            Ok(Ok(Opened::Asked(asked))) => Ok(asked),
            Ok(Ok(Opened::SettledBelow(number))) => {
                if let Err(error) = self.settle_below(session, number) {
                    self.log_error(&error.to_string());
                }
                return;
            }
            Ok(Err(error)) => Err(Unfit::Invalid(error)),
            Err(unfit) => Err(unfit),
        };
        let answering = match &asked {
            Ok(Asked::Call { answering, .. }) => Some(answering.clone()),
            _ => None,
        };
        let is_done = self.handle(slot, socket, asked, number).await;
        if number == 0 {
            return;
        }
        if is_done {
            // A function that succeeded has left its answer.
            let answer = answering.and_then(|answering| Rc::into_inner(answering)?.into_inner());
            let answer = answer.map(|answer| answer.into_control(number));
            self.settle(slot, session, life, number, answer.as_deref());
            self.send_control(slot, &answer.unwrap_or_else(|| wire::ack_control(number)));
        }
        self.ask_for_dropped(slot);
    }

    /// Answers a frame whose handler failed, and runs `on_error`.
    async fn event_failed(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        life: u64,
        handler: &'static str,
        failure: Failure,
        number: u64,
    ) {
        if failure.as_refused().is_some() {
            return self.answer_refusal(&failure, slot, number);
        }
        let is_over = is_own_purge(&failure);
        let call = Invocation { life, ..self.invocation(Some(slot)) };
        let message = match handler {
            "on_event" | "on_binary" => "the room could not handle this event",
            _ => "the room could not handle this call",
        };
        let notice = || Notice::error(ErrorKind::Handler, message, None);
        self.settle_failed(slot, life, number, notice());
        self.report(Err(failure), handler, &call).await;
        // The answer comes after `on_error`: if the room crashes there, the sender is informed of the crash instead.
        if !is_over && self.life.get() == life {
            self.answer_failure(notice(), slot, number);
        }
    }

    /// Answers a frame that is not an event, and runs `on_decode_error`.
    async fn invalid(self: &Rc<Self>, slot: &Rc<Slot>, error: DecodeError, number: u64) {
        self.note_refused(Some(slot), error.kind());
        self.settle_failed(slot, self.life.get(), number, Notice::decode_error(&error));
        match self.room.on_invalid {
            OnInvalid::Report => self.send_notice(Notice::decode_error(&error), number, slot),
            // A client of `room.v1` waits for the outcome of each number.
            OnInvalid::Ignore if number > 0 => self.send_notice(Notice::decode_error(&error), number, slot),
            OnInvalid::Ignore => {}
            OnInvalid::Close => {
                let reason = shortened(error.message());
                // This fails only if the socket is closing already.
                let _ = self.close_peer(slot, error.close_code(), reason);
            }
        }
        let call = self.invocation(Some(slot));
        let outcome = self
            .run("on_decode_error", call.sender.as_deref(), self.room.code.on_decode_error(call.clone(), error))
            .await;
        if let Err(failure) = &outcome {
            // The frame is counted already, and answered.
            self.send_refusal(failure, slot, 0);
        }
        self.report(handlers::unless_refused(outcome), "on_decode_error", &call).await;
    }

    /// Handles the end of a connection, or the close frame of a peer.
    pub(crate) async fn closed(self: &Rc<Self>, socket: Socket, mut close: Close) {
        // No peer sent this reason: the platform fills in its own text for an unclean 1006.
        if close.code == 1006 && !close.was_clean {
            close.reason.clear();
        }
        // The attachment is read first: it may be unreadable after the close handshake.
        let slot = self.slot_of(socket);
        // The handshake is completed before any wait, so that no handler can delay it.
        self.platform.answer_close(socket, close.code, &close.reason);
        // The room may have closed this socket and run `on_close` before it hibernated.
        let slot = slot.filter(|slot| slot.status.get() != Status::Gone && self.holds_place(slot));
        if let Some(slot) = slot {
            let generation = slot.generation.get();
            let close = self.begin_departure(&slot, close);
            match self.start(true).await {
                Ok(()) => self.depart(&slot, close, generation).await,
                // The end is stored, and handled after the next successful start.
                Err(error) => {
                    self.departing.borrow_mut().remove(&slot.entry);
                    self.log_error(&format!("{} {error}: on_close waits", self.room.name));
                }
            }
        }
        self.forget(socket);
        self.schedule_purge_if_empty();
    }

    /// Stores the room's id, because an alarm after a restart does not say the object's name.
    pub(crate) fn store_id(&self) -> Result<(), Error> {
        if self.id_is_stored.get() {
            return Ok(());
        }
        let id = self.id.as_str().as_bytes();
        let stored = self.platform.get(keys::ID).and_then(|stored| match stored {
            Some(stored) if stored == id => Ok(()),
            _ => self.platform.put(keys::ID, id),
        });
        stored.map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's id could not be stored: {refusal}")).in_room(&self.id)
        })?;
        self.id_is_stored.set(true);
        Ok(())
    }

    /// Drops everything that can be loaded again from storage or from the attachments.
    pub(crate) fn release_memory(&self) {
        self.release_state();
        self.slots.take();
        self.away.borrow_mut().retain(|_, slot| Rc::strong_count(slot) > 1);
        self.known_sockets.set(0);
        // Buckets that are not full are kept, so that a peer cannot refill its bucket by reconnecting.
        if let Some(rates) = &self.room.parts.rates {
            (rates.release)(self);
        }
        self.schedules.clear();
        self.answers.clear();
        self.sessions.clear();
        if let Some(replay) = &self.room.parts.replay {
            (replay.clear)(&self.log);
        }
        self.topics.clear();
        if let Some(delivering) = &self.room.parts.delivering {
            delivering.clear(self);
        }
    }
}

impl fmt::Debug for RoomHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHost").field("name", &self.room.name).field("id", &self.id).finish_non_exhaustive()
    }
}

/// The longest prefix of a text that fits into a close reason.
fn shortened(text: &str) -> &str {
    prefix(crate::types::close::MAX_REASON_BYTES, text)
}

#[cfg(test)]
mod lives;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod topic_costs;
#[cfg(test)]
mod unlucky;
#[cfg(test)]
mod user_lives;
