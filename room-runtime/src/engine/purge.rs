//! Purges a room: deletes everything that is stored and ends the room's life. Also plans the purge of an empty room.

use std::rc::Rc;

use super::RoomHost;
use crate::{
    Error, ErrorKind, Failure,
    engine::{schedules::Job, slot::Status},
    platform::Platform,
    wire::keys,
};

/// The part of the engine for rooms that are purged some time after the last peer has left.
pub(crate) struct Purging {
    note_joined: fn(&RoomHost),
    schedule_if_empty: fn(&RoomHost),
}

impl Purging {
    pub(super) const PART: Purging =
        Purging { note_joined: RoomHost::store_joined, schedule_if_empty: RoomHost::plan_purge };
}

impl RoomHost {
    /// Deletes everything and ends every running handler.
    pub(crate) fn purge(self: &Rc<Self>) -> Result<(), Error> {
        // The closure of an `update` would store its change in the next life.
        self.not_updating()?;
        self.not_in_transaction()?;
        self.not_reading()?;
        Platform::delete_all(&*self.platform).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room could not be purged: {refusal}")).in_room(&self.id)
        })?;
        self.life.set(self.life.get() + 1);
        let (departing, away) = (self.departing.borrow(), self.away.take());
        for slot in self.slots.borrow().iter().flatten().chain(departing.values()).chain(away.values()) {
            slot.status.set(Status::Gone);
        }
        drop(departing);
        for socket in Platform::open(&*self.platform, None) {
            // A close fails only if the socket is closing already.
            let _ = Platform::close(&*self.platform, socket, 1000, "the room was purged");
            Platform::detach(&*self.platform, socket);
        }
        self.purge_state();
        self.release_memory();
        self.rates.clear();
        self.schedules.purge();
        if let Some(delivering) = &self.room.parts.delivering {
            delivering.purge(self);
        }
        self.is_armed.set(false);
        self.departing.take();
        self.purge_users();
        self.joined.set(None);
        self.id_is_stored.set(false);
        // The purge also deleted what `on_start` made, for example tables, so `on_start` must run again.
        self.started.set(false);
        // Waiting handlers end now, not when the event that they wait for arrives.
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
        Ok(())
    }

    /// Returns whether the room has no open socket and no kept place.
    pub(super) fn is_deserted(&self) -> Result<bool, Error> {
        Ok(self.platform.open(None).is_empty() && self.count_kept()? == 0)
    }

    /// Records that a peer joined: a room that no peer ever joined is not purged.
    pub(super) fn note_joined(&self) {
        if let Some(purging) = &self.room.parts.purging {
            (purging.note_joined)(self);
        }
    }

    fn store_joined(&self) {
        let platform = self.platform.as_ref();
        let planned = self.schedules.cancel_own(platform, |job| matches!(job, Job::Purge));
        let joined = planned.and_then(|()| match self.was_joined()? {
            true => Ok(()),
            false => {
                platform.put(keys::JOINED, b"true").map_err(|refusal| self.roster_error("written", &refusal))?;
                self.joined.set(Some(true));
                Ok(())
            }
        });
        self.log_roster_error(joined);
    }

    fn was_joined(&self) -> Result<bool, Error> {
        if let Some(joined) = self.joined.get() {
            return Ok(joined);
        }
        let stored = self.platform.get(keys::JOINED).map_err(|refusal| self.roster_error("read", &refusal))?;
        self.joined.set(Some(stored.is_some()));
        Ok(stored.is_some())
    }

    /// Plans the purge of an empty room, if the room has `purge_after`.
    pub(super) fn schedule_purge_if_empty(&self) {
        if let Some(purging) = &self.room.parts.purging
            && self.started.get()
        {
            (purging.schedule_if_empty)(self);
        }
    }

    fn plan_purge(&self) {
        let platform = self.platform.as_ref();
        let plan = || {
            if !self.is_deserted()? || !self.was_joined()? || self.schedules.has_purge(platform)? {
                return Ok(());
            }
            self.store_id()?;
            let due_ms = self.platform.now_ms().saturating_add(self.room.purge_after_ms);
            self.schedules.add(platform, Job::Purge, None, due_ms, None).map(drop)
        };
        self.log_roster_error(plan().map_err(|error: Error| error.in_room(&self.id)));
    }
}

fn purged(message: &str) -> Error {
    Error::new(ErrorKind::Purged, message)
}

/// The error of an event at a room whose start purged it.
pub(crate) fn purged_at_start() -> Error {
    purged("the room purged itself as it started")
}

/// The error of a handler that a purge interrupted.
pub(crate) fn interrupted() -> Error {
    purged("the room was purged while this ran")
}

/// True if a handler failed only because it purged the room.
pub(crate) fn is_own_purge(failure: &Failure) -> bool {
    failure.downcast_ref::<Error>().is_some_and(Error::is_own_purge)
}
