//! Users: `on_join` runs for the first connection of a peer id, and `on_leave` after the last one.
//!
//! Storage has the places of each user, and, under another key, each handler that has not begun: a user that *joins* has
//! a place and no `on_join` yet, a user that *leaves* has no place and no `on_leave` yet. The second key is deleted when
//! the handler begins, with no wait between. A crash before that leaves the key, and the room runs the handler at its
//! next start; after a later crash it does not run again. So the handlers of a user alternate, whatever happens.
//!
//! Memory has a [`Visit`] for each user with such a handler, and for each user with a running `on_connect` or
//! `on_close`. While one of these runs, nobody knows whether the user leaves: `on_leave` waits for it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use super::{RoomHost, reconnect::may_come_back, roster::Entry};
use crate::{
    Error, ErrorKind, PeerId,
    engine::{
        fair_lock::{FairLock, Place},
        slot::{Slot, Status},
    },
    platform::*,
    wire::{self, keys},
};

/// The part of the engine for rooms with `on_join` or `on_leave`.
#[allow(clippy::type_complexity, reason = "each field has the signature of a method of the engine")]
pub(crate) struct Users {
    visit: fn(&RoomHost, &PeerId) -> Rc<Visit>,
    enter: fn(&RoomHost, &Slot) -> Result<(), Error>,
    must_wait: fn(&RoomHost, &Rc<Visit>) -> bool,
    leave: fn(&RoomHost, &str, &PeerId, Option<&Rc<Slot>>) -> Rc<Visit>,
    joined: fn(Rc<RoomHost>, Rc<Slot>, Rc<Visit>, Place) -> LocalFuture,
    left: fn(Rc<RoomHost>, Rc<Visit>) -> LocalFuture,
    stays: fn(Rc<RoomHost>, Rc<Slot>, bool) -> LocalFuture,
    find_outstanding: fn(&RoomHost, bool) -> Result<(), Error>,
    catch_up: fn(Rc<RoomHost>) -> LocalFuture,
}

impl Users {
    pub(super) const PART: Users = Users {
        visit: RoomHost::visit_of,
        enter: RoomHost::enter_place,
        must_wait: RoomHost::must_wait,
        leave: RoomHost::leave_place,
        joined: |host, slot, visit, turn| Box::pin(host.joined(slot, visit, turn)),
        left: |host, visit| Box::pin(host.left(visit)),
        stays: |host, slot, speaks| Box::pin(host.stays(slot, speaks)),
        find_outstanding: RoomHost::read_outstanding,
        catch_up: |host| Box::pin(host.catch_up()),
    };
}

/// A user whose handlers are not all over.
pub(crate) struct Visit {
    id: PeerId,
    /// The number of the user's connections whose `on_connect` or `on_close` runs. `on_leave` waits for them.
    running: Cell<usize>,
    /// The handler that has not begun. Storage has the same.
    outstanding: Cell<Option<Outstanding>>,
    /// The peer that had the last place of a user that leaves.
    last: RefCell<Option<Rc<Slot>>>,
    /// Taken by the running `on_join` or `on_leave`.
    turn: FairLock,
}

/// A handler that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outstanding {
    Join,
    Leave,
}

/// The places of a user, in storage.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: PeerId,
    /// The names of the roster's entries.
    places: Vec<String>,
}

/// An outstanding handler, in storage. For `on_leave` it is the roster's entry of the last place, if that is readable.
#[derive(Debug, Serialize, Deserialize)]
struct StoredOutstanding {
    id: PeerId,
    #[serde(default, skip_serializing)]
    name: Option<String>,
    #[serde(default)]
    leaves: bool,
}

fn places_key(id: &PeerId) -> String {
    format!("{}{id}", keys::USERS)
}

fn outstanding_key(id: &PeerId) -> String {
    format!("{}{id}", keys::OUTSTANDING)
}

impl RoomHost {
    // Calls of other parts of the engine. Without `on_join` and `on_leave` they do nothing.

    /// Begins the connection of a user: `on_leave` waits for the end of its `on_connect`.
    pub(super) fn user_connects(&self, id: &PeerId) -> Option<Rc<Visit>> {
        let visit = (self.room.parts.users.as_ref()?.visit)(self, id);
        visit.running.set(visit.running.get() + 1);
        Some(visit)
    }

    /// Records the new place of a user.
    pub(super) fn user_enters(&self, slot: &Slot) -> Result<(), Error> {
        self.room.parts.users.as_ref().map_or(Ok(()), |users| (users.enter)(self, slot))
    }

    /// Ends `on_connect` of an admitted peer, whose turn is passed on to `on_join`.
    ///
    /// `on_join` runs after the answer to the upgrade, so that a panic in it does not lose the connection.
    pub(super) fn user_connected(self: &Rc<Self>, slot: &Rc<Slot>, visit: Rc<Visit>, turn: impl FnOnce() -> Place) {
        if let Some(users) = &self.room.parts.users
            && (users.must_wait)(self, &visit)
        {
            self.platform.spawn((users.joined)(self.clone(), slot.clone(), visit, turn()));
        }
    }

    /// Ends `on_connect` of a peer that was not admitted. The user may have left meanwhile.
    pub(super) fn user_refused(self: &Rc<Self>, visit: Option<Rc<Visit>>) {
        if let Some(users) = &self.room.parts.users
            && let Some(visit) = visit
        {
            self.platform.spawn((users.left)(self.clone(), visit));
        }
    }

    /// Records that a place of a user was given up, before its `on_close`.
    ///
    /// `slot` is `None` if the peer's data cannot be read.
    pub(super) fn user_closes(&self, name: &str, id: &PeerId, slot: Option<&Rc<Slot>>) -> Option<Rc<Visit>> {
        let users = self.room.parts.users.as_ref()?;
        Some((users.leave)(self, name, id, slot))
    }

    /// Ends the `on_close` of a place, and runs `on_leave` if the user has left.
    pub(super) async fn user_closed(self: &Rc<Self>, visit: Option<Rc<Visit>>) {
        if let Some(users) = &self.room.parts.users
            && let Some(visit) = visit
        {
            (users.left)(self.clone(), visit).await;
        }
    }

    /// Runs `on_join` if it is outstanding, or waits for its end, before a frame, the `on_away` or the `on_resume` of a
    /// peer.
    ///
    /// A new peer passes its turn on to `on_join`. This is for an `on_join` that a crash has delayed to the start, and, with
    /// `speaks`, for a client that has sent a frame and is gone: its user joins, because the frame is handled.
    pub(super) async fn user_stays(self: &Rc<Self>, slot: &Rc<Slot>, speaks: bool) {
        if let Some(users) = &self.room.parts.users
            && self.visits.borrow().contains_key(&slot.id)
        {
            (users.stays)(self.clone(), slot.clone(), speaks).await;
        }
    }

    /// Reads the handlers of users that a crash or a restart has prevented.
    pub(super) fn find_outstanding(&self, has_sockets: bool) -> Result<(), Error> {
        self.room.parts.users.as_ref().map_or(Ok(()), |users| (users.find_outstanding)(self, has_sockets))
    }

    /// Runs the handlers of users that a crash or a restart has prevented.
    pub(super) async fn run_outstanding(self: &Rc<Self>) {
        if let Some(users) = &self.room.parts.users
            && self.has_outstanding()
        {
            (users.catch_up)(self.clone()).await;
        }
    }

    /// Returns whether any handler of a user has not begun.
    pub(super) fn has_outstanding(&self) -> bool {
        !self.visits.borrow().is_empty()
    }

    /// Ends all visits: a purge ends them without `on_leave`.
    pub(super) fn purge_users(&self) {
        for (_, visit) in self.visits.take() {
            visit.outstanding.set(None);
            visit.last.take();
        }
    }

    // Memory.

    fn visit_of(&self, id: &PeerId) -> Rc<Visit> {
        let new = || Visit {
            id: id.clone(),
            running: Cell::new(0),
            outstanding: Cell::new(None),
            last: RefCell::default(),
            turn: FairLock::default(),
        };
        self.visits.borrow_mut().entry(id.clone()).or_insert_with(|| Rc::new(new())).clone()
    }

    /// Forgets a user for whom nothing is to do.
    fn end_visit(&self, visit: &Rc<Visit>) {
        if visit.running.get() > 0 || visit.outstanding.get().is_some() || visit.turn.is_taken() {
            return;
        }
        let mut visits = self.visits.borrow_mut();
        // A purge may have begun another visit.
        if visits.get(&visit.id).is_some_and(|other| Rc::ptr_eq(other, visit)) {
            visits.remove(&visit.id);
        }
    }

    /// Ends an `on_connect` that admitted its peer. Returns whether the first frame must wait for `on_join`.
    fn must_wait(&self, visit: &Rc<Visit>) -> bool {
        visit.running.set(visit.running.get() - 1);
        let must_wait = visit.outstanding.get() == Some(Outstanding::Join) || visit.turn.is_taken();
        if !must_wait {
            self.end_visit(visit);
        }
        must_wait
    }

    // Places.

    fn enter_place(&self, slot: &Slot) -> Result<(), Error> {
        let visit = self.visit_of(&slot.id);
        let mut places = self.places_of(&slot.id)?;
        let joins = places.is_empty() && visit.outstanding.get().is_none();
        places.push(slot.entry.clone());
        // If only the first of two writes is stored, the next start ignores it.
        if joins {
            let value = StoredOutstanding { id: slot.id.clone(), name: None, leaves: false };
            self.put(&outstanding_key(&slot.id), &wire::encode_value(&value, "a user that joins")?)?;
        }
        if let Err(error) = self.put_places(&slot.id, places) {
            if joins {
                self.log_roster_error(self.remove(&outstanding_key(&slot.id)));
            }
            return Err(error);
        }
        if joins {
            visit.outstanding.set(Some(Outstanding::Join));
        } else if visit.outstanding.get() == Some(Outstanding::Leave) {
            // The user is back before `on_leave` began.
            visit.outstanding.set(None);
            visit.last.take();
            self.log_roster_error(self.remove(&outstanding_key(&slot.id)));
        }
        Ok(())
    }

    fn leave_place(&self, name: &str, id: &PeerId, slot: Option<&Rc<Slot>>) -> Rc<Visit> {
        let visit = self.visit_of(id);
        visit.running.set(visit.running.get() + 1);
        // If storage fails here, the user leaves late: at the end of a later place, or at the next start without
        // sockets. The handlers still alternate.
        self.log_roster_error(self.try_leave(name, &visit, slot));
        visit
    }

    fn try_leave(&self, name: &str, visit: &Visit, slot: Option<&Rc<Slot>>) -> Result<(), Error> {
        let id = &visit.id;
        let mut places = self.places_of(id)?;
        let before = places.len();
        places.retain(|place| place != name);
        // The place may be from an earlier deploy without these handlers.
        if places.len() == before {
            return Ok(());
        }
        if self.has_any_place(&places)? {
            return self.put_places(id, places);
        }
        if visit.outstanding.get() == Some(Outstanding::Join) {
            self.remove(&places_key(id))?;
            visit.outstanding.set(None);
            return self.remove(&outstanding_key(id));
        }
        self.put_leaving(id, slot)?;
        if let Err(error) = self.remove(&places_key(id)) {
            self.log_roster_error(self.remove(&outstanding_key(id)));
            return Err(error);
        }
        visit.outstanding.set(Some(Outstanding::Leave));
        visit.last.replace(slot.cloned());
        Ok(())
    }

    fn put_leaving(&self, id: &PeerId, slot: Option<&Rc<Slot>>) -> Result<(), Error> {
        let entry = slot.and_then(|slot| {
            let data = self.encode_current_data(slot).ok()?;
            self.encode_entry(slot, slot.generation.get(), &data, None).ok()
        });
        let bytes = match entry {
            Some(entry) => entry,
            None => {
                let value = StoredOutstanding { id: id.clone(), name: None, leaves: true };
                wire::encode_value(&value, "a user that leaves")?
            }
        };
        self.put(&outstanding_key(id), &bytes)
    }

    fn places_of(&self, id: &PeerId) -> Result<Vec<String>, Error> {
        let stored = self.platform.get(&places_key(id)).map_err(|refusal| self.users_error("read", &refusal))?;
        let stored = stored.and_then(|bytes| self.readable::<Stored>(&bytes, "the places of a user"));
        Ok(stored.map(|stored| stored.places).unwrap_or_default())
    }

    /// Returns whether any of these places exists. A failure of storage can leave the name of one that does not.
    fn has_any_place(&self, names: &[String]) -> Result<bool, Error> {
        for name in names {
            if self.entry(name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_places(&self, id: &PeerId, places: Vec<String>) -> Result<(), Error> {
        let value = wire::encode_value(&Stored { id: id.clone(), places }, "the places of a user")?;
        self.put(&places_key(id), &value)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.platform.put(key, value).map_err(|refusal| self.users_error("written", &refusal))
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        self.platform.delete(key).map_err(|refusal| self.users_error("written", &refusal))
    }

    fn users_error(&self, what: &str, refusal: &PlatformError) -> Error {
        Error::new(ErrorKind::Storage, format!("the room's users could not be {what}: {refusal}")).in_room(&self.id)
    }

    // Handlers.

    /// Returns whether the peer makes its user present, as `ctx.presence()` has it.
    fn is_present(&self, slot: &Slot) -> bool {
        let is_open = slot.ended.borrow().is_none() && slot.has_socket() && self.platform.is_open(slot.socket.get());
        let returns = self.room.parts.places.is_some() && may_come_back(slot);
        let is_away = slot.status.get() == Status::Away && returns;
        let is_connected = slot.status.get() == Status::Connected && !slot.is_final.get();
        is_away || is_connected && (is_open || returns)
    }

    /// Runs `on_join` for a new peer whose turn it has. If `on_join` runs already, it waits for its end.
    async fn joined(self: Rc<Self>, slot: Rc<Slot>, visit: Rc<Visit>, turn: Place) {
        Platform::timer(self.platform.clone(), 0).await;
        {
            let _turn = slot.turn.come(turn).await;
            self.run_join(&slot, &visit, false).await;
        }
        self.end_visit(&visit);
    }

    async fn run_join(self: &Rc<Self>, slot: &Rc<Slot>, visit: &Visit, speaks: bool) {
        let _turn = visit.turn.take().await;
        // A user that is not present stays one that has not joined. Its next connection lets it join.
        let joins = self.is_present(slot) || speaks && slot.status.get() == Status::Connected && !slot.is_final.get();
        if visit.outstanding.get() != Some(Outstanding::Join) || !joins {
            return;
        }
        if let Err(error) = self.remove(&outstanding_key(&visit.id)) {
            return self.platform.log_error(&error.to_string());
        }
        visit.outstanding.set(None);
        let call = self.invocation(Some(slot));
        let outcome = self.run(self.room.code.on_join(call.clone(), visit.id.clone())).await;
        self.report(outcome, "on_join", &call).await;
    }

    async fn stays(self: Rc<Self>, slot: Rc<Slot>, speaks: bool) {
        let visit = self.visits.borrow().get(&slot.id).cloned();
        if let Some(visit) = visit {
            self.run_join(&slot, &visit, speaks).await;
            self.end_visit(&visit);
        }
    }

    /// Ends an `on_connect` or `on_close` of the user, and runs `on_leave` if the user has left.
    async fn left(self: Rc<Self>, visit: Rc<Visit>) {
        visit.running.set(visit.running.get() - 1);
        self.run_leave(&visit).await;
        self.end_visit(&visit);
    }

    async fn run_leave(self: &Rc<Self>, visit: &Visit) {
        let is_due = || visit.outstanding.get() == Some(Outstanding::Leave) && visit.running.get() == 0;
        if !is_due() {
            return;
        }
        let _turn = visit.turn.take().await;
        // The user may be back.
        if !is_due() {
            return;
        }
        if let Err(error) = self.remove(&outstanding_key(&visit.id)) {
            return self.platform.log_error(&error.to_string());
        }
        visit.outstanding.set(None);
        let call = self.invocation(visit.last.take().as_ref());
        let outcome = self.run(self.room.code.on_leave(call.clone(), visit.id.clone())).await;
        self.report(outcome, "on_leave", &call).await;
    }

    // The start.

    fn read_outstanding(&self, has_sockets: bool) -> Result<(), Error> {
        let unreadable = |refusal: PlatformError| self.users_error("read", &refusal);
        for bytes in self.platform.list(keys::OUTSTANDING).map_err(unreadable)? {
            let Some(stored) = self.readable::<StoredOutstanding>(&bytes, "a user that joins or leaves") else {
                continue;
            };
            let StoredOutstanding { id, name, leaves } = stored;
            // An earlier try to start the room may have read it, and a connection may have ended since.
            if self.visits.borrow().contains_key(&id) {
                continue;
            }
            let places = self.places_of(&id)?;
            let has_place = self.has_any_place(&places)?;
            let leaves = leaves || name.is_some();
            // One of two writes may have failed.
            if !has_place && !places.is_empty() {
                self.remove(&places_key(&id))?;
            }
            if leaves == has_place {
                self.remove(&outstanding_key(&id))?;
                continue;
            }
            let visit = self.visit_of(&id);
            visit.outstanding.set(Some(if leaves { Outstanding::Leave } else { Outstanding::Join }));
            visit.last.replace(name.and_then(|_| self.restore_last(&bytes)));
        }
        if has_sockets || self.platform.has_sockets() {
            return Ok(());
        }
        // Without sockets the whole roster is read, and so can be the users. A failure of storage, or a deploy without
        // these handlers, can leave one that has no place.
        for bytes in self.platform.list(keys::USERS).map_err(unreadable)? {
            let Some(Stored { id, places }) = self.readable(&bytes, "the places of a user") else { continue };
            if self.visits.borrow().contains_key(&id) || self.has_any_place(&places)? {
                continue;
            }
            self.put_leaving(&id, None)?;
            self.remove(&places_key(&id))?;
            self.visit_of(&id).outstanding.set(Some(Outstanding::Leave));
        }
        Ok(())
    }

    /// The peer that had the last place of a user, or `None` if its data cannot be read.
    fn restore_last(&self, bytes: &[u8]) -> Option<Rc<Slot>> {
        let entry = self.readable::<Entry>(bytes, "the last peer of a user")?;
        let restored = self.restore_entry(entry);
        let slot = restored.map_err(|error| self.platform.log_error(&error.to_string())).ok()?;
        slot.status.set(Status::Gone);
        Some(slot)
    }

    async fn catch_up(self: Rc<Self>) {
        let life = self.life.get();
        let is_outstanding = |visit: &&Rc<Visit>| visit.outstanding.get().is_some();
        let visits: Vec<_> = self.visits.borrow().values().filter(is_outstanding).cloned().collect();
        for visit in visits {
            if self.life.get() != life {
                return;
            }
            let host = self.clone();
            // The handler runs as a task, like the `on_close` of a lost peer: one that waits does not block the start.
            let work = async move {
                if visit.outstanding.get() == Some(Outstanding::Join) {
                    if let Some(slot) = host.present_peer(&visit.id) {
                        host.run_join(&slot, &visit, false).await;
                    }
                } else {
                    host.run_leave(&visit).await;
                }
                host.end_visit(&visit);
            };
            self.begin(Box::pin(work)).await;
        }
    }

    /// A peer that makes the user present.
    fn present_peer(&self, id: &PeerId) -> Option<Rc<Slot>> {
        if let Some(slot) = self.connected_as(id).into_iter().find(|slot| self.is_present(slot)) {
            return Some(slot);
        }
        let places = self.places_of(id).map_err(|error| self.platform.log_error(&error.to_string())).ok()?;
        places.iter().find_map(|name| {
            let departing = self.departing.borrow().get(name).cloned();
            let slot = match departing {
                Some(slot) => slot,
                None => self.restore_entry(self.entry(name).ok()??).ok()?,
            };
            self.is_present(&slot).then_some(slot)
        })
    }
}
