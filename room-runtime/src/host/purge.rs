//! The end of a room's life, by its own will: afterwards it is as if it had never been.

use std::rc::Rc;

use super::RoomHost;
use crate::{Error, ErrorKind, Room, peer::Status};

impl<R: Room> RoomHost<R> {
    /// Clears everything, and ends every handler that runs.
    pub(crate) fn purge(self: &Rc<Self>) -> Result<(), Error> {
        self.platform.delete_all().map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room could not be purged: {refusal}")).in_room(&self.id)
        })?;
        self.life.set(self.life.get() + 1);
        for slot in self.slots.borrow().iter().flatten() {
            slot.status.set(Status::Gone);
        }
        for socket in self.platform.open(None) {
            // One that cannot be closed is on its way out.
            let _ = self.platform.close(socket, 1000, "the room was purged");
            self.platform.forget(socket);
        }
        self.purge_state();
        self.release_memory();
        self.leaving.take();
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
