//! [`RoomHost`]: the engine of one room. It implements every rule of a room; platforms only carry bytes.
//!
//! This file dispatches incoming frames, closes and alarms, and runs the handlers. The other modules: `state` holds the
//! stored state, `sockets` the sockets and their attachments, `upgrade` admits peers, `roster` keeps places and
//! presence, and `commands` serves the Worker's client.

mod commands;
pub(crate) mod fair_lock;
mod idempotency;
pub(crate) mod purge;
mod rate_limiter;
mod roster;
pub(crate) mod schedules;
pub(crate) mod slot;
mod sockets;
mod state;
pub(crate) mod tickets;
mod upgrade;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
};

use futures_channel::oneshot;

use crate::{
    Close, DecodeError, Error, ErrorKind, Failure, HandlerError, OnInvalid, Peer, Reject, Room, RoomContext, RoomId,
    engine::{
        fair_lock::FairLock,
        purge::{interrupted, is_own_purge, purged_at_start},
        rate_limiter::RateLimiter,
        schedules::{Due, Job, Schedules},
        slot::{Slot, Status},
        tickets::Tickets,
    },
    platform::*,
    wire::{self, WireError, keys},
};

pub(crate) use self::upgrade::Upgraded;
use self::{idempotency::Answers, state::Cached};

/// The most frames, and the most bytes, of one peer that wait while a handler of that peer runs. The room drops each
/// further frame and answers it with an error frame.
const MAX_QUEUED_FRAMES: usize = 1_024;
const MAX_QUEUED_BYTES: usize = 4 * 1_048_576;

/// The delay before an alarm tries again to start a room whose start failed.
const RESTART_MS: u64 = 10_000;
/// The longest delay: it doubles with each failed start in a row, up to this.
const LONGEST_RESTART_MS: u64 = 3_600_000;

/// The time limit of an `on_alarm` handler: 15 minutes, the platform's own limit for an alarm handler.
pub(crate) const ALARM_LIMIT_MS: u64 = 15 * 60_000;

pub(crate) struct RoomHost<R: Room> {
    pub(crate) platform: Rc<AnyPlatform>,
    pub(crate) id: RoomId,
    id_is_stored: Cell<bool>,
    services: OnceCell<R::Services>,
    make_services: MakeServices<R>,
    state: RefCell<Cached<R::State>>,
    slots: RefCell<Vec<Option<Rc<Slot<R>>>>>,
    /// The number of occupied entries in `slots`.
    known_sockets: Cell<usize>,
    rates: RateLimiter,
    pub(crate) schedules: Schedules,
    pub(crate) tickets: Tickets<R::Connection>,
    answers: Answers,
    started: Cell<bool>,
    /// The number of the room's current life. A purge increments it.
    pub(crate) life: Cell<u64>,
    /// The wakers of the handlers that wait. A purge wakes them, so that they end at once.
    waiting: RefCell<HashMap<u64, Waker>>,
    handlers: Cell<u64>,
    /// The peers whose connection has ended and whose end is not handled yet, by the names of their roster entries.
    departing: RefCell<HashMap<String, Rc<Slot<R>>>>,
    /// `Some(true)` if any peer has ever joined; `None` until it is first read.
    joined: Cell<Option<bool>>,
    /// True if this incarnation has set the platform's alarm.
    is_armed: Cell<bool>,
    /// The number of failed starts in a row.
    failed_starts: Cell<u32>,
    /// Taken while `on_start` runs. Other events wait for it in order of arrival.
    starting: FairLock,
    /// True if a timer is running that will send the batched messages.
    releasing: Cell<bool>,
}

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
trait HandlerFailure: From<Error> {
    fn is_refusal(&self) -> bool;
}

impl HandlerFailure for Failure {
    fn is_refusal(&self) -> bool {
        self.as_refused().is_some()
    }
}

impl HandlerFailure for Reject {
    fn is_refusal(&self) -> bool {
        self.is_answer()
    }
}

/// Makes the services of a room.
pub(crate) type MakeServices<R> = Box<dyn Fn() -> Result<<R as Room>::Services, Failure>>;

impl<R: Room> RoomHost<R> {
    pub(crate) fn new(platform: Rc<AnyPlatform>, make_services: MakeServices<R>) -> Rc<Self> {
        let stored = || {
            let bytes = platform.get(keys::ID).ok().flatten()?;
            String::from_utf8(bytes).ok()
        };
        // An object that was never addressed by a name has only the platform's object id.
        let id = platform.name().or_else(stored).unwrap_or_else(|| platform.number());
        Rc::new(RoomHost {
            id: RoomId::from(id),
            id_is_stored: Cell::new(false),
            services: OnceCell::new(),
            make_services,
            platform,
            state: RefCell::default(),
            slots: RefCell::default(),
            known_sockets: Cell::new(0),
            rates: RateLimiter::default(),
            schedules: Schedules::new(R::HAS_ON_ALARM),
            tickets: Tickets::default(),
            answers: Answers::default(),
            started: Cell::new(false),
            life: Cell::new(0),
            waiting: RefCell::default(),
            handlers: Cell::new(0),
            departing: RefCell::default(),
            joined: Cell::new(None),
            is_armed: Cell::new(false),
            failed_starts: Cell::new(0),
            starting: FairLock::default(),
            releasing: Cell::new(false),
        })
    }

    // Incoming frames and closes.

    /// Handles one frame of one peer.
    pub(crate) async fn message(self: &Rc<Self>, socket: Socket, frame: OwnedFrame) {
        let Some(peer) = self.peer(socket) else { return };
        let bytes = frame.len();
        let slot = &peer.slot;
        if let Some(limit) = R::LIMITS.rate_limit
            && let Err(wait_ms) = self.rates.take(peer.id(), limit, self.platform.now_ms())
        {
            let message =
                format!("this peer sends more than {} frames a second, this one was dropped", limit.per_second);
            self.send_error_frame(slot, ErrorKind::RateLimited, &message, Some(wait_ms));
            return;
        }
        // The size is checked before decoding and before queueing, so that an oversized frame takes no memory.
        let limit = R::LIMITS.max_message_bytes;
        let frame = if bytes > limit { Err(DecodeError::too_large(bytes, limit)) } else { Ok(frame) };
        let weight = if frame.is_ok() { bytes } else { 0 };
        let queued = slot.queued_bytes.get() + weight;
        if slot.turn.is_taken() && (slot.turn.queued() >= MAX_QUEUED_FRAMES || queued > MAX_QUEUED_BYTES) {
            let message = format!(
                "{} frames of this peer are waiting, which is all that a room keeps; this one was dropped",
                slot.turn.queued()
            );
            self.send_error_frame(slot, ErrorKind::Overloaded, &message, None);
            return;
        }
        slot.queued_bytes.set(queued);
        let _turn = slot.turn.take().await;
        slot.queued_bytes.set(slot.queued_bytes.get() - weight);
        // A purge has ended this connection. Handling the frame would start the room's next life.
        if slot.status.get() == Status::Gone {
            return;
        }
        // The start comes after the queue, so that frames which wait for the start count against the queue's limits.
        if let Err(error) = self.start(true).await {
            self.send_error_frame(slot, error.kind(), error.message(), None);
            return;
        }
        if slot.status.get() != Status::Connected || slot.is_closing.get() {
            return;
        }
        let ctx = self.context(Some(&peer));
        match frame.and_then(wire::decode_frame) {
            Ok(event) => {
                let Err(failure) = self.run(R::on_event(&ctx, event)).await else { return };
                if failure.as_refused().is_some() {
                    return self.answer_refusal(&failure, slot);
                }
                let is_over = is_own_purge(&failure);
                self.report(Err(failure), "on_event", Some(&peer), &ctx).await;
                // The answer comes after `on_error`: if the room crashes there, the sender is informed of the crash
                // instead.
                if !is_over && ctx.alive().is_ok() {
                    self.answer_failure(slot);
                }
            }
            Err(error) => self.invalid(&peer, &error, &ctx).await,
        }
    }

    /// Answers a frame that is not an event, and runs `on_decode_error`.
    async fn invalid(self: &Rc<Self>, peer: &Peer<R>, error: &DecodeError, ctx: &RoomContext<R>) {
        match R::ON_INVALID {
            OnInvalid::Report => self.send_error_frame(&peer.slot, error.kind(), error.message(), None),
            OnInvalid::Ignore => {}
            OnInvalid::Close => {
                let reason = shortened(error.message());
                // This fails only if the socket is closing already.
                let _ = self.close_peer(peer, error.close_code(), reason);
            }
        }
        let outcome = self.run(R::on_decode_error(ctx, error)).await;
        if let Err(failure) = &outcome {
            self.answer_refusal(failure, &peer.slot);
        }
        self.report(commands::unless_refused(outcome), "on_decode_error", Some(peer), ctx).await;
    }

    /// Handles the end of a connection, or the close frame of a peer.
    pub(crate) async fn closed(self: &Rc<Self>, socket: Socket, mut close: Close) {
        // No peer sent this reason: the platform fills in its own text for an unclean 1006.
        if close.code == 1006 && !close.was_clean {
            close.reason.clear();
        }
        // The attachment is read first: it may be unreadable after the close handshake.
        let peer = self.peer(socket);
        // The handshake is completed before any wait, so that no handler can delay it.
        self.platform.answer_close(socket, close.code, &close.reason);
        // The room may have closed this socket and run `on_close` before it hibernated.
        let peer = peer.filter(|peer| peer.slot.status.get() != Status::Gone && self.holds_place(&peer.slot));
        if let Some(peer) = peer {
            let generation = peer.slot.generation.get();
            let close = self.begin_departure(&peer, close);
            match self.start(true).await {
                Ok(()) => self.depart(&peer, close, generation).await,
                // The end is stored, and handled after the next successful start.
                Err(error) => {
                    self.departing.borrow_mut().remove(&peer.slot.entry);
                    self.platform.log_error(&format!("{} {error}: on_close waits", R::NAME));
                }
            }
        }
        self.forget(socket);
        self.schedule_purge_if_empty();
    }

    // Alarms.

    /// True if this room can have schedules: alarms, grace times or a planned purge.
    pub(crate) const HAS_SCHEDULES: bool = R::HAS_ON_ALARM || R::RECONNECT_GRACE_MS > 0 || R::PURGE_AFTER_MS > 0;

    /// True if this room can have any use for the platform's alarm.
    pub(crate) const HAS_ALARMS: bool = Self::HAS_SCHEDULES || Self::HAS_WATCHDOG;

    /// Handles the object's alarm: starts everything that is due, in order of time.
    ///
    /// Each schedule runs in a task of its own, so that a slow one does not delay the others. This never returns an
    /// error: the platform gives up an alarm that fails several times, and then no alarm would be set.
    pub(crate) async fn alarm(self: Rc<Self>) {
        // The platform has removed the alarm. The new one covers a crash from here on and a start that fails.
        let now_ms = self.platform.now_ms();
        let is_what_woke_it = !self.is_armed.get();
        self.platform.set_alarm(Some(now_ms.saturating_add(RESTART_MS)));
        if let Err(error) = self.start(false).await {
            self.platform.log_error(&format!("{} {error}: its alarms wait", R::NAME));
            return;
        }
        if is_what_woke_it || self.schedules.watchdog().is_none_or(|at_ms| at_ms <= now_ms) {
            self.schedules.set_watchdog(None);
            // Sockets that the room has closed and that have not answered need no watchdog.
            if Self::HAS_WATCHDOG && self.platform.count_open() > 0 {
                self.schedules.set_watchdog(Some(now_ms.saturating_add(R::WATCHDOG_MS)));
            }
        }
        if Self::HAS_SCHEDULES {
            // Boxed, so that the wasm of a room without schedules does not contain this code.
            let firing: LocalFuture<Result<(), Error>> = Box::pin(self.clone().fire_due());
            if let Err(error) = firing.await {
                self.platform.log_error(&error.in_room(&self.id).to_string());
                return;
            }
        }
        self.arm();
    }

    async fn fire_due(self: Rc<Self>) -> Result<(), Error> {
        let platform = self.platform.as_ref();
        // Schedules that a handler sets during this run are left for the next one, so that they cannot starve the
        // others.
        let before = self.schedules.next_number(platform)?;
        let life = self.life.get();
        while self.life.get() == life
            && let Some(due) = self.schedules.begin(platform, before)?
        {
            // They begin in order and then run concurrently.
            let host = self.clone();
            self.begin(async move {
                if let Err(error) = host.fire(due).await {
                    host.platform.log_error(&error.in_room(&host.id).to_string());
                }
            })
            .await;
        }
        Ok(())
    }

    /// Spawns work, and returns when that work has been polled once.
    async fn begin(&self, work: impl Future<Output = ()> + 'static) {
        let (polled, is_polled) = oneshot::channel();
        self.platform.spawn(Box::pin(async move {
            let mut work = pin!(work);
            let mut polled = Some(polled);
            poll_fn(|cx| {
                let poll = work.as_mut().poll(cx);
                if let Some(polled) = polled.take() {
                    // The receiver is gone only if the object has ended.
                    let _ = polled.send(());
                }
                poll
            })
            .await;
        }));
        // The sender is dropped unsent only together with the task.
        let _ = is_polled.await;
    }

    /// Sets the platform's alarm to the earliest time of the schedules and the watchdog.
    fn arm(&self) {
        self.is_armed.set(true);
        if Self::HAS_SCHEDULES {
            if let Err(error) = self.schedules.arm(self.platform.as_ref()) {
                // The alarm that is set already stays in place.
                self.platform.log_error(&error.in_room(&self.id).to_string());
            }
        } else {
            self.platform.set_alarm(self.schedules.watchdog());
        }
    }

    /// Sets the watchdog alarm: after a restart nothing else would load the room to close its lost peers.
    pub(crate) fn start_watchdog(&self) {
        if !Self::HAS_WATCHDOG || self.is_armed.get() && self.schedules.watchdog().is_some() {
            return;
        }
        if let Err(error) = self.store_id() {
            self.platform.log_error(&error.to_string());
        }
        self.schedules.set_watchdog(Some(self.platform.now_ms().saturating_add(R::WATCHDOG_MS)));
        self.arm();
    }

    /// Serves the Worker's `fire_alarm`. Returns whether there was an alarm.
    async fn fire_alarm(self: Rc<Self>) -> Result<bool, WireError> {
        match self.schedules.begin_next(self.platform.as_ref()).map_err(|error| WireError::from(&error))? {
            None => Ok(false),
            Some(due) => self.fire(due).await.map_err(|error| WireError::from(&error))?.map(|()| true),
        }
    }

    /// Runs one schedule. The outer error is one of storage; the inner one is the failure of the handler.
    async fn fire(self: &Rc<Self>, due: Due) -> Result<Result<(), WireError>, Error> {
        let Due { id, number, job, attempt, failure } = due;
        let platform = self.platform.as_ref();
        match job {
            Job::Alarm(alarm) => {
                let ctx = RoomContext { failure, ..self.context(None) };
                let decoded = wire::decode_value::<R::Alarm>(alarm.get().as_bytes(), "a stored alarm");
                let is_known = decoded.is_ok();
                let outcome = match decoded {
                    Ok(alarm) => self.limited(self.run(R::on_alarm(&ctx, alarm))).await,
                    Err(error) => Err(error.in_room(&self.id).into()),
                };
                self.schedules.ended((id, number));
                match outcome {
                    Err(failure) if !is_own_purge(&failure) => {
                        let error = WireError::of_handler("on_alarm", &failure, false);
                        let stays = self.schedules.fail(platform, (id, number));
                        // An alarm that does not decode stays stored for code that can decode it. It is reported once.
                        if is_known || attempt == 1 {
                            self.report(Err(failure), "on_alarm", None, &ctx).await;
                        }
                        return stays.map(|()| Err(error));
                    }
                    _ => {}
                }
            }
            Job::Grace(name) => {
                self.end_grace(&name).await;
                self.schedules.ended((id, number));
                self.schedule_purge_if_empty();
            }
            Job::Purge => {
                self.schedules.ended((id, number));
                // The purge may have been planned by an earlier deploy that had `purge_after`.
                if R::PURGE_AFTER_MS > 0 && self.is_deserted()? {
                    return self.purge().map(Ok);
                }
            }
        }
        self.schedules.finish(platform, (id, number)).map(Ok)
    }

    /// Ends a handler that exceeds [`ALARM_LIMIT_MS`].
    async fn limited(&self, handler: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let mut handler = pin!(handler);
        let mut limit: Option<LocalFuture> = None;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = handler.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // The timer is created at the first wait, because most handlers never wait.
            let limit = limit.get_or_insert_with(|| Platform::timer(self.platform.clone(), ALARM_LIMIT_MS));
            limit.as_mut().poll(cx).map(|()| {
                let message = format!("on_alarm did not end within {} minutes", ALARM_LIMIT_MS / 60_000);
                Err(Error::new(ErrorKind::Timeout, message).in_room(&self.id).into())
            })
        })
        .await
    }

    /// Runs a task beside the handler that spawned it. A purge ends the task, even before it has begun.
    pub(crate) fn spawn<F>(self: &Rc<Self>, life: u64, work: F)
    where
        F: AsyncFnOnce(RoomContext<R>) -> Result<(), Failure> + 'static,
    {
        let (host, ctx) = (self.clone(), RoomContext { life, ..self.context(None) });
        self.platform.spawn(Box::pin(async move {
            if ctx.alive().is_err() {
                return;
            }
            let outcome = host.run(work(ctx.clone())).await;
            host.report(outcome, "spawn", None, &ctx).await;
        }));
    }

    /// Starts the room before any other work: makes the services, runs `on_start` and closes the lost peers.
    ///
    /// After an error no event is handled, and the next event tries again. `by_socket` is true if the event came from
    /// one of the room's own sockets.
    pub(crate) async fn start(self: &Rc<Self>, by_socket: bool) -> Result<(), Error> {
        if self.has_started() {
            return Ok(());
        }
        let _turn = self.starting.take().await;
        // The `on_close` of a lost peer may purge the room; then the room starts once more.
        for _ in 0..2 {
            if self.started.get() {
                return Ok(());
            }
            if let Err(error) = self.try_start(by_socket).await {
                let failures = self.failed_starts.replace(self.failed_starts.get().saturating_add(1));
                // The alarm retries the start even if no further event arrives. A room that purged itself needs no
                // retry.
                if Self::HAS_ALARMS && error.kind() != ErrorKind::Purged && self.has_work() {
                    let delay_ms = RESTART_MS.saturating_mul(1 << failures.min(10)).min(LONGEST_RESTART_MS);
                    self.platform.set_alarm(Some(self.platform.now_ms().saturating_add(delay_ms)));
                }
                return Err(error);
            }
            self.failed_starts.set(0);
        }
        if self.started.get() { Ok(()) } else { Err(purged_at_start().in_room(&self.id)) }
    }

    /// Returns whether schedules, peers or ended connections wait for the room to start.
    fn has_work(&self) -> bool {
        let has = |prefix: &str| self.platform.list(prefix).is_ok_and(|stored| !stored.is_empty());
        // If storage cannot be read, assume that there is work.
        let has_schedules =
            Self::HAS_SCHEDULES && self.schedules.is_empty(self.platform.as_ref()).is_ok_and(|empty| !empty);
        has_schedules || roster::PREFIXES.into_iter().any(has) || self.platform.get(keys::ID).is_err()
    }

    /// Returns whether the room has started and no event is waiting for the start. Such an event must be handled first.
    fn has_started(&self) -> bool {
        self.started.get() && !self.starting.is_taken()
    }

    async fn try_start(self: &Rc<Self>, by_socket: bool) -> Result<(), Error> {
        self.check_storage()?;
        self.prepare_services()?;
        let lost = self.find_lost(by_socket)?;
        let (life, ctx) = (self.life.get(), self.context(None));
        if let Err(failure) = self.run(R::on_start(&ctx)).await {
            if is_own_purge(&failure) {
                return Err(purged_at_start().in_room(&self.id));
            }
            self.report(Err(failure), "on_start", None, &ctx).await;
            // The failure's text goes only to the log, because a peer must not see it.
            let message = "the room could not start: its on_start failed, see its log";
            return Err(Error::new(ErrorKind::NotStarted, message).in_room(&self.id));
        }
        if self.life.get() != life {
            return Ok(());
        }
        self.started.set(true);
        if Self::HAS_WATCHDOG && self.schedules.watchdog().is_none() && (by_socket || self.platform.has_sockets()) {
            // The platform's alarm is still set since the peers joined. This value keeps it when a schedule sets the
            // alarm anew.
            self.schedules.set_watchdog(Some(self.platform.now_ms().saturating_add(R::WATCHDOG_MS)));
        }
        self.close_lost(lost).await;
        if self.life.get() != life {
            return Ok(());
        }
        if R::PURGE_AFTER_MS > 0 && !by_socket && !self.platform.has_sockets() {
            self.schedule_purge_if_empty();
        }
        if Self::HAS_SCHEDULES && self.schedules.is_due(self.platform.as_ref()).unwrap_or(true) {
            // The platform may have lost the alarm.
            self.arm();
        }
        Ok(())
    }

    /// Checks that the synchronous storage works. The platform has it only for classes that are declared with SQLite.
    fn check_storage(&self) -> Result<(), Error> {
        let stored = self.platform.get(keys::ID);
        stored.map(drop).map_err(|refusal| {
            let mut message = format!("the room's storage cannot be used: {refusal}");
            if message.contains("SQLite") {
                let class = R::CLASS;
                message += &format!(
                    "; declare the class with SQLite, in the migrations of wrangler.toml: \
                     `new_sqlite_classes = [\"{class}\"]`, not `new_classes`"
                );
            }
            Error::new(ErrorKind::Storage, message).in_room(&self.id)
        })
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
                // The failure's text may contain the name of a secret, so it goes only to the log.
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

    /// Runs a handler. Its changes are stored before each wait and at its end. A purge ends it.
    async fn run<T, E: HandlerFailure>(&self, handler: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut handler = pin!(handler);
        let life = self.life.get();
        let number = self.handlers.replace(self.handlers.get() + 1);
        let waiting = Waiting { number, waiting: &self.waiting };
        let outcome = poll_fn(|cx| {
            if self.life.get() != life {
                return Poll::Ready(Err(interrupted().in_room(&self.id).into()));
            }
            let poll = handler.as_mut().poll(cx);
            if self.life.get() != life {
                return match poll {
                    Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                    // The handler purged the room itself and then went on: the rest has no effect.
                    _ => Poll::Ready(Err(interrupted().in_room(&self.id).into())),
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
                    self.platform.log_error(&error.to_string());
                    Poll::Ready(Err(failure))
                }
                // The handler ends even if it still waits: its next steps would build on a change that is not stored.
                (Err(error), _) => Poll::Ready(Err(error.into())),
            }
        })
        .await;
        drop(waiting);
        outcome
    }

    /// Logs the failure of a handler and runs `on_error`.
    async fn report(
        &self,
        outcome: Result<(), Failure>,
        handler: &'static str,
        peer: Option<&Peer<R>>,
        ctx: &RoomContext<R>,
    ) {
        let Err(failure) = outcome else { return };
        // The handler's own purge is not a failure.
        if is_own_purge(&failure) || ctx.alive().is_err() {
            return;
        }
        let error = HandlerError::new(handler, peer.map(|peer| peer.id().clone()), failure);
        self.report_error(&error, ctx).await;
    }

    async fn report_error(&self, error: &HandlerError, ctx: &RoomContext<R>) {
        self.log(error);
        if let Err(failure) = self.run(R::on_error(ctx, error)).await
            && !is_own_purge(&failure)
        {
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

    fn send_error_frame(self: &Rc<Self>, to: &Slot<R>, code: ErrorKind, message: &str, retry_after_ms: Option<u64>) {
        let frame = wire::error_frame(code, message, retry_after_ms);
        // A send fails only if the socket is closing.
        self.send(Frame::Text(&frame), Audience::Only(&[to.socket.get()]));
    }

    /// Answers the sender of an event whose handler failed. The text of the failure goes only to the log.
    fn answer_failure(self: &Rc<Self>, to: &Slot<R>) {
        if to.status.get() != Status::Gone && to.socket.get() != NO_SOCKET {
            self.send_error_frame(to, ErrorKind::Handler, "the room could not handle this event", None);
        }
    }

    /// Sends the message or the error frame of a refusal to the peer; does nothing for any other failure.
    pub(crate) fn answer_refusal(self: &Rc<Self>, failure: &Failure, to: &Slot<R>) {
        let Some(refused) = failure.as_refused() else { return };
        // The connection may have ended while the handler waited.
        if to.status.get() == Status::Gone || to.socket.get() == NO_SOCKET {
            return;
        }
        match refused.message() {
            Some(message) => {
                // A send fails only if the socket is closing.
                self.send(Frame::Text(message), Audience::Only(&[to.socket.get()]));
            }
            None => self.send_error_frame(to, ErrorKind::Refused, refused.reason(), None),
        }
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
        self.known_sockets.set(0);
        // Buckets that are not full are kept, so that a peer cannot refill its bucket by reconnecting.
        if let Some(limit) = R::LIMITS.rate_limit {
            self.rates.sweep(limit, self.platform.now_ms());
        }
        self.schedules.clear();
        self.answers.clear();
    }
}

impl<R: Room> fmt::Debug for RoomHost<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHost").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}

/// The longest prefix of a text that fits into a close reason.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(crate::types::close::MAX_REASON_BYTES)]
}

#[cfg(test)]
mod lives;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unlucky;
