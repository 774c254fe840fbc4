//! What a room remembers: read from storage once in a wake, stored before anyone is told of a change.

use std::{cell::RefMut, rc::Rc};

use super::RoomHost;
use crate::{Error, ErrorKind, Failure, Room, platform::SIZES, wire};

/// The storage key of the room's state.
pub(crate) const STATE_KEY: &str = "room:state";

/// The room's state in memory.
#[derive(Debug)]
pub(super) struct Cached<S> {
    value: Option<Rc<S>>,
    /// What storage holds. `Unknown` until it was read in this wake.
    stored: Stored,
    dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Unknown,
    Nothing,
    Something,
}

impl<S> Default for Cached<S> {
    fn default() -> Self {
        Cached { value: None, stored: Stored::Unknown, dirty: false }
    }
}

impl<R: Room> RoomHost<R> {
    pub(crate) fn state(self: &Rc<Self>) -> Result<Rc<R::State>, Error> {
        let mut cached = self.borrow_state()?;
        Ok(self.loaded(&mut cached)?.clone())
    }

    pub(crate) fn update<T>(self: &Rc<Self>, change: impl FnOnce(&mut R::State) -> T) -> Result<T, Error> {
        let mut cached = self.borrow_state()?;
        // A snapshot that a handler still holds is copied, not changed under it.
        let value = change(Rc::make_mut(self.loaded(&mut cached)?));
        cached.dirty = true;
        Ok(value)
    }

    pub(crate) fn try_update<T>(
        self: &Rc<Self>,
        change: impl FnOnce(&mut R::State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut cached = self.borrow_state()?;
        let mut state = R::State::clone(self.loaded(&mut cached)?);
        let value = change(&mut state)?;
        cached.value = Some(Rc::new(state));
        cached.dirty = true;
        Ok(value)
    }

    pub(crate) fn is_initialized(&self) -> Result<bool, Error> {
        let mut cached = self.borrow_state()?;
        self.read(&mut cached)?;
        Ok(cached.dirty || cached.stored == Stored::Something)
    }

    /// The state as the Worker's client sees it: `None` until there was a first change.
    pub(super) fn stored_state(self: &Rc<Self>) -> Result<Option<Rc<R::State>>, Error> {
        Ok(if self.is_initialized()? { Some(self.state()?) } else { None })
    }

    /// Stores the state if it changed since it was last stored.
    ///
    /// A state that cannot be stored is given up: what is served is what would be there after a restart.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        // Nothing can be changed inside an `update` either.
        let Ok(mut cached) = self.state.try_borrow_mut() else { return Ok(()) };
        let Cached { value: Some(value), dirty: true, .. } = &*cached else { return Ok(()) };
        let written = wire::encode_value(&**value, "the room's state").and_then(|bytes| match bytes.len() {
            n if n > SIZES.value => Err(Error::new(
                ErrorKind::ValueTooLarge,
                format!("the room's state has {n} bytes as JSON, the limit is {}", SIZES.value),
            )),
            _ => self.platform.put(STATE_KEY, &bytes).map_err(|refusal| {
                Error::new(ErrorKind::Storage, format!("the room's state could not be stored: {refusal}"))
            }),
        });
        cached.dirty = false;
        match written {
            Ok(()) => {
                cached.stored = Stored::Something;
                Ok(())
            }
            Err(error) => {
                cached.value = None;
                cached.stored = Stored::Unknown;
                Err(error.in_room(&self.id))
            }
        }
    }

    /// Forgets the state in memory, unless it is still to be stored.
    pub(super) fn release_state(&self) {
        if let Ok(mut cached) = self.state.try_borrow_mut()
            && !cached.dirty
        {
            *cached = Cached::default();
        }
    }

    fn borrow_state(&self) -> Result<RefMut<'_, Cached<R::State>>, Error> {
        self.state.try_borrow_mut().map_err(|_| {
            let message = "the room's state was used inside the closure of an `update`, or inside `init`";
            Error::new(ErrorKind::NestedUpdate, message).in_room(&self.id)
        })
    }

    /// Reads what is stored, once in a wake.
    fn read(&self, cached: &mut Cached<R::State>) -> Result<(), Error> {
        if cached.stored != Stored::Unknown {
            return Ok(());
        }
        let stored = self.platform.get(STATE_KEY).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's state could not be read: {refusal}")).in_room(&self.id)
        })?;
        match stored {
            Some(bytes) => {
                let state = wire::decode_value(&bytes, "the room's stored state");
                cached.value = Some(Rc::new(state.map_err(|error| error.in_room(&self.id))?));
                cached.stored = Stored::Something;
            }
            None => cached.stored = Stored::Nothing,
        }
        Ok(())
    }

    fn loaded<'c>(self: &Rc<Self>, cached: &'c mut Cached<R::State>) -> Result<&'c mut Rc<R::State>, Error> {
        self.read(cached)?;
        let value = match cached.value.take() {
            Some(value) => value,
            None => {
                let first = R::init(&self.context(None)).map_err(|failure| self.init_error(&failure))?;
                cached.dirty = R::STORES_FIRST_STATE;
                Rc::new(first)
            }
        };
        Ok(cached.value.insert(value))
    }

    fn init_error(&self, failure: &Failure) -> Error {
        Error::new(failure.kind(), format!("init: {failure}")).in_room(&self.id)
    }
}
