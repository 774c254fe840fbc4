//! Transactions: everything that a closure stores is kept, or nothing. Also the rows that a handler reads one by one, and the
//! rules for what such a closure cannot do.

use std::cell::Cell;

use super::RoomHost;
use crate::{Error, ErrorKind, Failure, platform::*};

/// The closures that are running on the room's database.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// The number of transactions, each inside the one before.
    transactions: Cell<u32>,
    /// True if the rows of a statement are being read.
    is_reading: Cell<bool>,
}

impl RoomHost {
    /// Runs work whose changes of the database, the state, the schedules and the outbox are stored together.
    ///
    /// An error rolls all of them back. The state is stored before, so that a rollback returns to it.
    pub(crate) fn transaction(&self, work: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        self.not_reading()?;
        self.store_state()?;
        let Running { transactions, .. } = &self.running;
        transactions.set(transactions.get() + 1);
        let has_armed = self.schedules.has_armed.replace(false);
        let mut outcome = Ok(());
        let done = self.platform.transaction(&mut || {
            // A state that cannot be stored is found here and not later, when the statements are committed.
            outcome = work().and_then(|()| self.store_state().map_err(Failure::from));
            outcome.is_ok()
        });
        transactions.set(transactions.get() - 1);
        let done = outcome.and_then(|()| {
            done.map_err(|refusal| {
                let message = format!("the transaction could not be stored: {refusal}");
                Error::new(ErrorKind::Storage, message).in_room(&self.id).into()
            })
        });
        if done.is_err() {
            self.forget_changes();
        }
        if has_armed {
            self.schedules.has_armed.set(true);
        }
        done
    }

    /// Drops what memory knows of changes that are rolled back. It is read again at its next use.
    fn forget_changes(&self) {
        self.drop_state();
        self.id_is_stored.set(false);
        if let Some(delivering) = &self.room.parts.delivering {
            delivering.clear(self);
        }
        if self.schedules.has_armed.get() {
            self.schedules.clear();
            if let Some(firing) = &self.room.parts.firing {
                firing.restore(self);
            }
        }
    }

    /// Passes the rows of a statement on in batches, until the closure returns false. Meanwhile nothing else can use the
    /// database.
    pub(crate) fn read_rows(
        &self,
        read: impl FnOnce(&AnyPlatform) -> Result<(), PlatformError>,
    ) -> Result<(), PlatformError> {
        let Running { is_reading, .. } = &self.running;
        is_reading.set(true);
        let done = read(self.platform.as_ref());
        is_reading.set(false);
        done
    }

    /// Returns an error inside the closure of a `for_each`.
    pub(crate) fn not_reading(&self) -> Result<(), Error> {
        if self.running.is_reading.get() {
            let message = "inside the closure of a `for_each` the room cannot use its database or be purged; do that after it, or \
                           join the tables in its statement";
            return Err(Error::new(ErrorKind::NestedUpdate, message).in_room(&self.id));
        }
        Ok(())
    }

    /// Returns an error inside a transaction, for what a rollback could not undo.
    pub(crate) fn not_in_transaction(&self) -> Result<(), Error> {
        if self.running.transactions.get() > 0 {
            let message = "inside a transaction the room cannot send, close, be purged or change a peer's data or topics, because a \
                           rollback could not undo it; do that after it";
            return Err(Error::new(ErrorKind::NestedUpdate, message).in_room(&self.id));
        }
        Ok(())
    }
}
