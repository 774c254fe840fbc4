//! Purges a room: deletes everything that is stored and begins the room's next life.

use std::rc::Rc;

use super::RoomHost;
use crate::{Error, ErrorKind, Failure, Room, engine::slot::Status, platform::Platform};

impl<R: Room> RoomHost<R> {
    /// Deletes everything and ends every running handler.
    pub(crate) fn purge(self: &Rc<Self>) -> Result<(), Error> {
        // The closure of an `update` would store its change in the next life.
        self.not_updating()?;
        Platform::delete_all(&*self.platform).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room could not be purged: {refusal}")).in_room(&self.id)
        })?;
        self.life.set(self.life.get() + 1);
        for slot in self.slots.borrow().iter().flatten().chain(self.departing.borrow().values()) {
            slot.status.set(Status::Gone);
        }
        for socket in Platform::open(&*self.platform, None) {
            // A close fails only if the socket is closing already.
            let _ = Platform::close(&*self.platform, socket, 1000, "the room was purged");
            Platform::detach(&*self.platform, socket);
        }
        self.purge_state();
        self.release_memory();
        self.rates.clear();
        self.schedules.purge();
        self.is_armed.set(false);
        self.departing.take();
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
