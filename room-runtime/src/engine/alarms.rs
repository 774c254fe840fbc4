//! The object's alarm: it fires the schedules that are due, looks for silent peers, and is the watchdog that loads a room
//! after a restart.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use futures_channel::oneshot;

use super::{Invocation, RoomHost, start::RESTART_MS};
use crate::{
    Error, ErrorKind, Failure,
    engine::{
        purge::is_own_purge,
        schedules::{Due, Job},
    },
    platform::*,
    wire::WireError,
};

const ON_ALARM: &str = "on_alarm";

/// The time limit of an `on_alarm` or `on_undelivered` handler: 15 minutes, the platform's own limit for an alarm handler.
const ALARM_LIMIT_MS: u64 = 15 * 60_000;

/// The part of the engine for rooms that can have schedules: alarms, grace times or a planned purge.
pub(crate) struct Firing {
    fire_due: fn(Rc<RoomHost>) -> LocalFuture<Result<(), Error>>,
    fire_next: fn(Rc<RoomHost>) -> LocalFuture<Result<bool, WireError>>,
    arm: fn(&RoomHost) -> Result<(), Error>,
    has_any: fn(&RoomHost) -> Result<bool, Error>,
    is_due: fn(&RoomHost) -> Result<bool, Error>,
    count: fn(&RoomHost) -> Result<usize, Error>,
}

impl Firing {
    pub(super) const PART: Firing = Firing {
        fire_due: |host| Box::pin(host.fire_due()),
        fire_next: |host| Box::pin(host.fire_next()),
        arm: |host| host.schedules.arm(host.platform.as_ref()),
        has_any: |host| Ok(!host.schedules.is_empty(host.platform.as_ref())?),
        is_due: |host| host.schedules.is_due(host.platform.as_ref()),
        count: |host| host.schedules.count_alarms(host.platform.as_ref()),
    };

    /// Serves the Worker's `fire_alarm`. Returns whether there was an alarm.
    pub(super) async fn fire_next(&self, host: &Rc<RoomHost>) -> Result<bool, WireError> {
        (self.fire_next)(host.clone()).await
    }

    /// Sets the platform's alarm again, after a change of the schedules was rolled back.
    ///
    /// The platform may remember the alarm that the transaction has set.
    pub(super) fn restore(&self, host: &RoomHost) {
        if let Err(error) = (self.arm)(host) {
            host.log_error(&error.in_room(&host.id).to_string());
        }
    }

    /// The number of alarms that are set.
    pub(super) fn count(&self, host: &RoomHost) -> Result<usize, Error> {
        (self.count)(host).map_err(|error| error.in_room(&host.id))
    }

    /// Returns whether the room has any schedule that can fire.
    pub(super) fn has_any(&self, host: &RoomHost) -> bool {
        (self.has_any)(host).unwrap_or(false)
    }

    /// Returns whether any schedule is due. If they cannot be read, one may be.
    pub(super) fn is_due(&self, host: &RoomHost) -> bool {
        (self.is_due)(host).unwrap_or(true)
    }
}

impl RoomHost {
    pub(super) fn alarm_boxed(self: Rc<Self>) -> LocalFuture {
        Box::pin(self.handle_alarm())
    }

    /// Handles the object's alarm. A room that can have no use for it does nothing.
    pub(crate) async fn alarm(self: Rc<Self>) {
        if let Some(alarm) = self.room.parts.alarm {
            alarm(self).await;
        }
    }

    /// Starts everything that is due, in order of time.
    ///
    /// Each schedule runs in a task of its own, so that a slow one does not delay the others. This never returns an
    /// error: the platform gives up an alarm that fails several times, and then no alarm would be set.
    async fn handle_alarm(self: Rc<Self>) {
        // The platform has removed the alarm. The new one covers a crash from here on and a start that fails.
        let now_ms = self.platform.now_ms();
        let is_what_woke_it = !self.is_armed.get();
        self.platform.set_alarm(Some(now_ms.saturating_add(RESTART_MS)));
        if let Err(error) = self.start(false).await {
            self.log_error(&format!("{} {error}: its alarms wait", self.room.name));
            return;
        }
        self.check_silent_peers(is_what_woke_it);
        if is_what_woke_it || self.schedules.watchdog().is_none_or(|at_ms| at_ms <= now_ms) {
            self.schedules.set_watchdog(None);
            // Sockets that the room has closed and that have not answered need no watchdog. A user whose `on_leave` waits
            // for an `on_close` does: after a crash nothing else would load the room.
            if self.room.has_watchdog() && (self.platform.count_open() > 0 || self.has_outstanding()) {
                self.schedules.set_watchdog(Some(now_ms.saturating_add(self.room.watchdog_ms)));
            }
        }
        if let Some(delivering) = &self.room.parts.delivering {
            delivering.deliver(&self);
        }
        if let Some(firing) = &self.room.parts.firing
            && let Err(error) = (firing.fire_due)(self.clone()).await
        {
            self.log_error(&error.in_room(&self.id).to_string());
            return;
        }
        self.arm();
    }

    async fn fire_due(self: Rc<Self>) -> Result<(), Error> {
        let platform = self.platform.as_ref();
        // Schedules that a handler sets during this run are left for the next one, so that they cannot starve the
        // others.
        let before = self.schedules.next_number(platform)?;
        let life = self.life.get();
        let failed = Rc::new(RefCell::new(None));
        while self.life.get() == life && self.schedules.has_due(platform, before)? {
            // They begin in order and then run concurrently. Each is taken as its handler begins, so that nothing can
            // cancel or replace it in between.
            let (host, unstored) = (self.clone(), failed.clone());
            let firing = async move {
                match host.schedules.begin(host.platform.as_ref(), before) {
                    Ok(Some(due)) => {
                        if let Err(error) = host.fire(due).await {
                            host.log_error(&error.in_room(&host.id).to_string());
                        }
                    }
                    Ok(None) => {}
                    Err(error) => drop(unstored.replace(Some(error))),
                }
            };
            self.begin(Box::pin(firing)).await;
            if let Some(error) = failed.take() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Spawns work, and returns when that work has been polled once.
    pub(super) async fn begin(&self, mut work: LocalFuture) {
        let (polled, is_polled) = oneshot::channel();
        self.platform.spawn(Box::pin(async move {
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

    /// Sets the platform's alarm to the earliest time of the schedules, the watchdog, the silent peers and the outbox.
    pub(super) fn arm(&self) {
        self.is_armed.set(true);
        match &self.room.parts.firing {
            Some(firing) => {
                if let Err(error) = (firing.arm)(self) {
                    // The alarm that is set already stays in place.
                    self.log_error(&error.in_room(&self.id).to_string());
                }
            }
            None => self.platform.set_alarm(self.schedules.own(self.platform.as_ref())),
        }
    }

    /// Sets the watchdog alarm: after a restart nothing else would load the room to close its lost peers.
    pub(super) fn start_watchdog(&self) {
        if !self.room.has_watchdog() || self.is_armed.get() && self.schedules.watchdog().is_some() {
            return;
        }
        if let Err(error) = self.store_id() {
            self.log_error(&error.to_string());
        }
        self.schedules.set_watchdog(Some(self.platform.now_ms().saturating_add(self.room.watchdog_ms)));
        self.arm();
    }

    async fn fire_next(self: Rc<Self>) -> Result<bool, WireError> {
        match self.schedules.begin_next(self.platform.as_ref()).map_err(|error| WireError::from(&error))? {
            None => Ok(false),
            Some(due) => self.fire(due).await.map_err(|error| WireError::from(&error))?.map(|()| true),
        }
    }

    /// Runs one schedule. The outer error is one of storage; the inner one is the failure of the handler.
    async fn fire(self: &Rc<Self>, due: Due) -> Result<Result<(), WireError>, Error> {
        let Due { id, number, job, attempt, failure } = due;
        let platform = self.platform.as_ref();
        let handler = if matches!(job, Job::Undelivered(_)) { "on_undelivered" } else { ON_ALARM };
        match job {
            Job::Alarm(json) | Job::Undelivered(json) => {
                let call = Invocation { failure, ..self.invocation(None) };
                let handling = match handler {
                    ON_ALARM => self.room.code.on_alarm(call.clone(), &json),
                    _ => self.room.code.on_undelivered(call.clone(), &json),
                };
                let is_known = handling.is_ok();
                let outcome = match handling {
                    Ok(handling) => self.limited(handler, self.run(handler, call.sender.as_deref(), handling)).await,
                    Err(error) => Err(error.in_room(&self.id).into()),
                };
                self.schedules.ended((id, number));
                match outcome {
                    Err(failure) if !is_own_purge(&failure) => {
                        let error = WireError::of_handler(handler, &failure, false);
                        self.note_retry(handler, attempt);
                        let stays = self.schedules.fail(platform, (id, number));
                        // An alarm that does not decode stays stored for code that can decode it. It is reported once.
                        if is_known || attempt == 1 {
                            self.report(Err(failure), handler, &call).await;
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
                // The purge may have been planned by an earlier deploy that had `purge_after`. One that is due while the last
                // `on_close` runs is planned again at its end.
                let is_in_use = !self.departing.borrow().is_empty() || !self.is_deserted()?;
                if self.room.parts.purging.is_some() && !is_in_use {
                    return self.purge().map(Ok);
                }
            }
        }
        self.schedules.finish(platform, (id, number)).map(Ok)
    }

    /// Ends a handler that exceeds [`ALARM_LIMIT_MS`].
    async fn limited(&self, name: &str, handler: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let mut handler = pin!(handler);
        let mut limit: Option<LocalFuture> = None;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = handler.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // The timer is created at the first wait, because most handlers never wait.
            let limit = limit.get_or_insert_with(|| Platform::timer(self.platform.clone(), ALARM_LIMIT_MS));
            limit.as_mut().poll(cx).map(|()| {
                let message = format!("{name} did not end within {} minutes", ALARM_LIMIT_MS / 60_000);
                Err(Error::new(ErrorKind::Timeout, message).in_room(&self.id).into())
            })
        })
        .await
    }
}
