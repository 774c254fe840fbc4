//! Starts a room: makes its services, runs `on_start` and closes the peers that it lost.

use std::rc::Rc;

use super::{RoomHost, roster};
use crate::{
    Error, ErrorKind,
    engine::purge::{is_own_purge, purged_at_start},
    platform::Platform,
    wire::keys,
};

/// The delay before an alarm tries again to start a room whose start failed.
pub(super) const RESTART_MS: u64 = 10_000;
/// The longest delay: it doubles with each failed start in a row, up to this.
const LONGEST_RESTART_MS: u64 = 3_600_000;

impl RoomHost {
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
                if self.room.parts.alarm.is_some() && error.kind() != ErrorKind::Purged && self.has_work() {
                    let delay_ms = RESTART_MS.saturating_mul(1 << failures.min(10)).min(LONGEST_RESTART_MS);
                    self.platform.set_alarm(Some(self.platform.now_ms().saturating_add(delay_ms)));
                }
                return Err(error);
            }
            self.failed_starts.set(0);
        }
        if self.started.get() { Ok(()) } else { Err(purged_at_start().in_room(&self.id)) }
    }

    /// Returns whether schedules, durable calls, peers or ended connections wait for the room to start.
    fn has_work(&self) -> bool {
        let has = |prefix: &str| self.platform.list(prefix).is_ok_and(|stored| !stored.is_empty());
        // If storage cannot be read, assume that there is work.
        let has_schedules = self.room.parts.firing.as_ref().is_some_and(|firing| firing.has_any(self));
        let has_timeouts = self.room.parts.liveness.is_some() && self.platform.count_open() > 0;
        let has_calls = self.room.parts.delivering.is_some() && has(keys::OUTBOX_CALLS);
        has_schedules
            || has_timeouts
            || has_calls
            || roster::PREFIXES.into_iter().any(has)
            || self.platform.get(keys::ID).is_err()
    }

    /// Returns whether the room has started and no event is waiting for the start. Such an event must be handled first.
    pub(super) fn has_started(&self) -> bool {
        self.started.get() && !self.starting.is_taken()
    }

    async fn try_start(self: &Rc<Self>, by_socket: bool) -> Result<(), Error> {
        self.check_storage()?;
        self.prepare_services()?;
        let lost = self.find_lost(by_socket)?;
        self.find_outstanding(by_socket)?;
        if let Some(delivering) = &self.room.parts.delivering {
            // A schedule that `on_start` sets must not take the alarm away from the outbox.
            delivering.load(self)?;
        }
        // A message of `on_start` can be for them.
        let lost = self.hold_lost(lost);
        let (life, call) = (self.life.get(), self.invocation(None));
        if let Err(failure) = self.run("on_start", call.sender.as_deref(), self.room.code.on_start(call.clone())).await
        {
            if is_own_purge(&failure) {
                return Err(purged_at_start().in_room(&self.id));
            }
            self.let_go_of_lost(&lost);
            self.report(Err(failure), "on_start", &call).await;
            // The failure's text goes only to the log, because a peer must not see it.
            let message = "the room could not start: its on_start failed, see its log";
            return Err(Error::new(ErrorKind::NotStarted, message).in_room(&self.id));
        }
        if self.life.get() != life {
            return Ok(());
        }
        self.started.set(true);
        self.note_started();
        if self.room.has_watchdog()
            && self.schedules.watchdog().is_none()
            && (by_socket || Platform::has_sockets(&*self.platform))
        {
            // The platform's alarm is still set since the peers joined. This value keeps it when a schedule sets the
            // alarm anew.
            self.schedules.set_watchdog(Some(self.platform.now_ms().saturating_add(self.room.watchdog_ms)));
        }
        self.close_lost(lost).await;
        if self.life.get() != life {
            return Ok(());
        }
        self.run_outstanding().await;
        if self.life.get() != life {
            return Ok(());
        }
        if self.room.parts.purging.is_some() && !by_socket && !self.platform.has_sockets() {
            self.schedule_purge_if_empty();
        }
        if self.room.parts.firing.as_ref().is_some_and(|firing| firing.is_due(self)) {
            // The platform may have lost the alarm.
            self.arm();
        }
        if let Some(delivering) = &self.room.parts.delivering {
            delivering.deliver(self);
        }
        Ok(())
    }

    /// Checks that the synchronous storage works. The platform has it only for classes that are declared with SQLite.
    fn check_storage(&self) -> Result<(), Error> {
        let stored = self.platform.get(keys::ID);
        stored.map(drop).map_err(|refusal| {
            let mut message = format!("the room's storage cannot be used: {refusal}");
            if message.contains("SQLite") {
                let class = self.room.class;
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
                self.log_error(&format!("{} room `{}`: services failed: {failure}", self.room.name, self.id));
                // The failure's text may contain the name of a secret, so it goes only to the log.
                let message = "the room has no services, see its log";
                Err(Error::new(ErrorKind::Services, message).in_room(&self.id))
            }
        }
    }
}
