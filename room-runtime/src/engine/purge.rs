//! The end of a room's life, by its own will: afterwards it is as if it had never been.

use std::rc::Rc;

use super::RoomHost;
use crate::{Error, ErrorKind, Failure, Room, engine::slot::Status, platform::Platform};

impl<R: Room> RoomHost<R> {
    /// Clears everything, and ends every handler that runs.
    pub(crate) fn purge(self: &Rc<Self>) -> Result<(), Error> {
        // A change under way would be stored in the new life.
        self.not_updating()?;
        Platform::delete_all(&*self.platform).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room could not be purged: {refusal}")).in_room(&self.id)
        })?;
        self.life.set(self.life.get() + 1);
        for slot in self.slots.borrow().iter().flatten().chain(self.departing.borrow().values()) {
            slot.status.set(Status::Gone);
        }
        for socket in Platform::open(&*self.platform, None) {
            // One that cannot be closed is on its way out.
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
        // What `on_start` made, tables for example, is gone as well.
        self.started.set(false);
        // Handlers that wait are to end now, not when what they wait for comes.
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
        Ok(())
    }
}

pub(crate) const OWN_PURGE: &str = "the handler purged the room";
pub(crate) const OTHER_PURGE: &str = "the room was purged while this ran";

pub(crate) fn purged(message: &str) -> Error {
    Error::new(ErrorKind::Purged, message)
}

/// The handler's own purge, once more.
pub(crate) fn own_purge() -> Error {
    purged(OWN_PURGE)
}

/// For what arrives at a room that purges itself as it starts.
pub(crate) fn purged_at_start() -> Error {
    purged("the room purged itself as it started")
}

/// What a handler ends with when the room was purged meanwhile.
pub(crate) fn interrupted() -> Error {
    purged(OTHER_PURGE)
}

/// Whether a handler failed only because it purged the room.
pub(crate) fn is_own_purge(failure: &Failure) -> bool {
    failure.downcast_ref::<Error>().is_some_and(is_own_purge_error)
}

pub(crate) fn is_own_purge_error(error: &Error) -> bool {
    error.kind() == ErrorKind::Purged && error.message() == OWN_PURGE
}
