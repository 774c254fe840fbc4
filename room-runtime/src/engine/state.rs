//! The room's state: read from storage at its first use, then kept in memory, and stored before any message leaves the
//! room. It is dropped from memory when the last peer has left, and when it could not be stored.

use std::{cell::RefMut, rc::Rc};

use serde_json::value::RawValue;

use super::{RoomHost, Value};
use crate::{
    Error, ErrorKind, Failure,
    engine::purge::{interrupted, is_own_purge},
    platform::*,
    wire::{self, keys},
};

/// The room's state in memory.
#[derive(Debug)]
pub(super) struct Cached {
    held: Option<Held>,
    /// The presence of a state in storage; `Unknown` until it is read.
    stored: Stored,
    /// The version of the stored state.
    version: u32,
    /// True if `init` is running.
    is_initializing: bool,
}

/// A state, with whether it differs from storage.
#[derive(Debug)]
struct Held {
    value: Value,
    dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Unknown,
    Nothing,
    Something,
}

impl Default for Cached {
    fn default() -> Self {
        Cached { held: None, stored: Stored::Unknown, version: 0, is_initializing: false }
    }
}

impl Cached {
    /// Returns whether there is a state that differs from storage.
    fn dirty(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.dirty)
    }
}

impl RoomHost {
    pub(crate) fn state(self: &Rc<Self>) -> Result<Value, Error> {
        Ok(self.load()?.value.clone())
    }

    /// Changes the state in place.
    pub(crate) fn update<T>(self: &Rc<Self>, change: impl FnOnce(&mut Value) -> T) -> Result<T, Error> {
        let mut held = self.load()?;
        let value = change(&mut held.value);
        held.dirty = true;
        Ok(value)
    }

    /// Replaces the state, unless the closure fails.
    pub(crate) fn try_update<T>(
        self: &Rc<Self>,
        change: impl FnOnce(&Value) -> Result<(Value, T), Failure>,
    ) -> Result<T, Failure> {
        let mut held = self.load()?;
        let (state, value) = change(&held.value)?;
        *held = Held { value: state, dirty: true };
        Ok(value)
    }

    pub(crate) fn is_initialized(&self) -> Result<bool, Error> {
        let mut cached = self.readable_state()?;
        self.read(&mut cached)?;
        Ok(cached.dirty() || cached.stored == Stored::Something)
    }

    /// The state for the Worker's client, as JSON; `None` if no state was ever stored or changed.
    pub(super) fn state_json(self: &Rc<Self>) -> Result<Option<Box<RawValue>>, Error> {
        if !self.is_initialized()? {
            return Ok(None);
        }
        let json = self.room.code.encode_state(&*self.state()?)?;
        wire::raw_json(json, "the room's state").map(Some)
    }

    /// Stores the state if it changed since it was last stored. Then the room may do what a rollback could not undo.
    ///
    /// Inside a transaction this is an error.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.not_in_transaction()?;
        self.store_state()
    }

    /// Stores the state if it changed since it was last stored.
    ///
    /// Inside the closure of an `update` this is an error, because the message to be sent would describe an unfinished
    /// change. A state that cannot be stored is dropped from memory: the room goes on with the stored state, as after a
    /// restart.
    pub(crate) fn store_state(&self) -> Result<(), Error> {
        let mut cached = self.borrow_state()?;
        let Cached { held, stored, version, .. } = &mut *cached;
        let Some(Held { value, dirty: dirty @ true }) = held else { return Ok(()) };
        let written = self.room.code.encode_state(&**value).and_then(|bytes| match bytes.len() {
            n if n > MAX_VALUE_BYTES => Err(Error::new(
                ErrorKind::ValueTooLarge,
                format!("the room's state has {n} bytes as JSON, the limit is {}", MAX_VALUE_BYTES),
            )),
            _ => self.store(&bytes, *version).map_err(|refusal| {
                Error::new(ErrorKind::Storage, format!("the room's state could not be stored: {refusal}"))
            }),
        });
        match written {
            Ok(()) => {
                *dirty = false;
                *stored = Stored::Something;
                *version = self.room.state_version;
                Ok(())
            }
            Err(error) => {
                *held = None;
                *stored = Stored::Unknown;
                Err(error.in_room(&self.id))
            }
        }
    }

    /// Stores the version before the state. If the second write fails, the old state has a version that it does not
    /// match, and it is refused as long as that is so.
    fn store(&self, bytes: &[u8], version: u32) -> Result<(), PlatformError> {
        if version != self.room.state_version {
            self.platform.put(keys::STATE_VERSION, self.room.state_version.to_string().as_bytes())?;
        }
        self.platform.put(keys::STATE, bytes)
    }

    /// Drops the state after a purge has deleted it from storage.
    pub(super) fn purge_state(&self) {
        if let Ok(mut cached) = self.state.try_borrow_mut() {
            *cached = Cached::default();
        }
    }

    /// Drops the state and its changes from memory, because they are rolled back. `init` may be running.
    pub(super) fn drop_state(&self) {
        if let Ok(mut cached) = self.state.try_borrow_mut() {
            *cached = Cached { is_initializing: cached.is_initializing, ..Cached::default() };
        }
    }

    /// Drops the state from memory, unless it has unsaved changes.
    pub(super) fn release_state(&self) {
        if let Ok(mut cached) = self.state.try_borrow_mut()
            && !cached.dirty()
            && !cached.is_initializing
        {
            *cached = Cached::default();
        }
    }

    fn borrow_state(&self) -> Result<RefMut<'_, Cached>, Error> {
        self.state.try_borrow_mut().map_err(|_| {
            let message = "inside the closure of an `update` the room cannot be used: not its state or database, to send, close, \
                           schedule, purge or change a peer's data; do that after it";
            Error::new(ErrorKind::NestedUpdate, message).in_room(&self.id)
        })
    }

    /// Borrows the state, with an error inside `init`, which has no state to read yet.
    fn readable_state(&self) -> Result<RefMut<'_, Cached>, Error> {
        let cached = self.borrow_state()?;
        if cached.is_initializing {
            let message = "the room's state cannot be used inside `init`, which makes it";
            return Err(Error::new(ErrorKind::NestedUpdate, message).in_room(&self.id));
        }
        Ok(cached)
    }

    /// Returns an error if the closure of an `update` is running.
    pub(crate) fn not_updating(&self) -> Result<(), Error> {
        self.borrow_state().map(drop)
    }

    /// Reads the stored state, unless memory has it.
    fn read(&self, cached: &mut Cached) -> Result<(), Error> {
        if cached.stored != Stored::Unknown {
            return Ok(());
        }
        let unreadable = |refusal: PlatformError| {
            Error::new(ErrorKind::Storage, format!("the room's state could not be read: {refusal}")).in_room(&self.id)
        };
        match self.platform.get(keys::STATE).map_err(unreadable)? {
            Some(bytes) => {
                // The version is read even if this code has none, because earlier code may have stored one.
                let version = self.stored_version(self.platform.get(keys::STATE_VERSION).map_err(unreadable)?)?;
                let state = if version == self.room.state_version {
                    self.room.code.decode_state(&bytes)
                } else {
                    self.migrate(version, &bytes)
                };
                let value = state.map_err(|error| error.in_room(&self.id))?;
                // The migrated state is stored with the next change, or at the end of the handler that read it.
                cached.held = Some(Held { value, dirty: version != self.room.state_version });
                cached.stored = Stored::Something;
                cached.version = version;
            }
            None => cached.stored = Stored::Nothing,
        }
        Ok(())
    }

    fn stored_version(&self, stored: Option<Vec<u8>>) -> Result<u32, Error> {
        let Some(bytes) = stored else { return Ok(0) };
        let version = wire::decode_value(&bytes, "the version of the room's stored state");
        version.map_err(|error| error.in_room(&self.id))
    }

    /// Loads the state at its first use: reads it, or runs `init`.
    fn load(self: &Rc<Self>) -> Result<RefMut<'_, Held>, Error> {
        let mut cached = self.readable_state()?;
        self.read(&mut cached)?;
        let mut cached = match RefMut::filter_map(cached, |cached| cached.held.as_mut()) {
            Ok(held) => return Ok(held),
            Err(cached) => cached,
        };
        // The borrow ends while `init` runs, because `init` may send and schedule.
        cached.is_initializing = true;
        drop(cached);
        let life = self.life.get();
        let first = self.room.code.init(self.invocation(None)).map_err(|failure| self.init_error(&failure));
        let mut cached = self.borrow_state()?;
        cached.is_initializing = false;
        if self.life.get() != life {
            return Err(first.err().unwrap_or_else(|| interrupted().in_room(&self.id)));
        }
        let first = Held { value: first?, dirty: self.room.stores_first_state };
        Ok(RefMut::map(cached, |cached| cached.held.insert(first)))
    }

    fn init_error(&self, failure: &Failure) -> Error {
        let error = if is_own_purge(failure) {
            Error::own_purge()
        } else {
            Error::new(failure.fault_kind(), format!("init: {failure}"))
        };
        error.in_room(&self.id)
    }

    /// Migrates a state of an earlier version to the current one.
    fn migrate(&self, version: u32, bytes: &[u8]) -> Result<Value, Error> {
        let this = self.room.state_version;
        if version > this {
            let message = format!("the room's state was stored as version {version}, this code knows it up to {this}");
            return Err(Error::new(ErrorKind::Decode, message));
        }
        self.room.code.migrate(version, bytes)?.map_err(|failure| {
            let message =
                format!("the room's stored state does not migrate from version {version} to {this}: {failure}");
            Error::new(ErrorKind::Decode, message)
        })
    }
}
