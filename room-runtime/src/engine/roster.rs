//! The roster: the stored list of the room's peers.
//!
//! With it, peers whose sockets are lost in a restart get their `on_close`, and peers that reconnect in time keep their
//! place.
//!
//! An entry, a *place*, exists from the success of `on_connect` to the start of `on_close`. It belongs to one socket at
//! a time. Each reconnect increments the generation of the place, which both the entry and the socket's attachment
//! carry. The late close of an earlier socket has an old generation and is ignored, even after hibernation or a crash.
//!
//! The entry is deleted when `on_close` begins, with no wait between. A crash before that leaves the entry, and the room
//! runs `on_close` at its next start; after a later crash `on_close` does not run again.

use std::{collections::BTreeMap, rc::Rc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RoomHost;
use crate::{
    Close, CloseCode, Error, ErrorKind, Failure, HandlerError, PeerId,
    engine::{
        reconnect::may_come_back,
        slot::{Slot, Status},
        topics,
    },
    platform::*,
    wire::{self, keys},
};

/// The prefixes of the storage keys that hold peers, and handlers that wait for the start.
pub(super) const PREFIXES: [&str; 3] = [keys::PEERS, keys::LEAVING, keys::OUTSTANDING];

/// One peer in storage. Its data stays undecoded, so that an entry is readable even if the type of the data changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The name of the entry. It is also the resume token of the peer.
    pub(super) name: String,
    pub(super) id: PeerId,
    connected_at: u64,
    /// The number of reconnects to this place.
    #[serde(default, skip_serializing_if = "is_zero")]
    generation: u32,
    tags: Vec<String>,
    /// The topics, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    topics: String,
    /// The position in the log at which the place began; 0 if there is no log.
    #[serde(default, skip_serializing_if = "is_none")]
    begun: u64,
    data: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) away: Option<Away>,
}

fn is_zero(generation: &u32) -> bool {
    *generation == 0
}

fn is_none(begun: &u64) -> bool {
    *begun == 0
}

/// The absence of a peer whose connection is lost and whose grace is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Away {
    pub(super) since_ms: u64,
    pub(super) close: Close,
}

/// The stored end of a connection that could not be handled at once.
///
/// The reasons are: a handler of the peer was running, the room had not started, or the peer has not answered the
/// room's close. A crash or hibernation does not lose the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Leaving {
    name: String,
    generation: u32,
    pub(super) close: Close,
    /// True if a reconnect is excluded, because the room closed the connection.
    pub(super) is_final: bool,
}

/// A peer that has left and whose `on_close` has not run.
#[derive(Debug)]
pub(super) struct Lost {
    entry: Entry,
    close: Close,
    /// True if a reconnect is excluded.
    is_final: bool,
    /// True if the end of the connection is stored.
    is_noted: bool,
}

/// The lost peers of a start.
#[derive(Default)]
pub(super) struct Held {
    gone: Vec<(Rc<Slot>, Close)>,
    /// Entries whose data does not decode: the name, the id and the error.
    unreadable: Vec<(String, PeerId, Error)>,
}

/// The effect of a connection's end on the peer's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Departure {
    /// No effect: the place does not belong to this connection.
    Nothing,
    /// The place is kept for the grace, and `on_away` runs.
    Away,
    /// The place is given up, and `on_close` runs.
    Closed,
}

/// One user of a room: all connections that share a peer id.
pub(crate) struct User {
    pub(crate) id: PeerId,
    pub(crate) peers: Vec<Rc<Slot>>,
    pub(crate) away_since: Option<u64>,
}

/// The part of the engine for rooms that keep a roster, because they have `on_close`, handlers by user or a grace.
pub(crate) struct Roster {
    enroll: fn(&RoomHost, &Slot, u32, &RawValue) -> Result<(), Error>,
    store_leaving: fn(&RoomHost, &Slot, &Close) -> Option<Close>,
    forget_leaving: fn(&RoomHost, &str),
    give_up: fn(&RoomHost, &Slot, &Close) -> Departure,
    holds_place: fn(&RoomHost, &Slot) -> bool,
    find_lost: fn(&RoomHost, bool) -> Result<Vec<Lost>, Error>,
    close_lost: fn(Rc<RoomHost>, Held) -> LocalFuture,
}

impl Roster {
    pub(super) const PART: Roster = Roster {
        enroll: |host, slot, generation, data| host.put_entry(slot, generation, data, None),
        store_leaving: RoomHost::store_leaving,
        forget_leaving: |host, name| host.log_roster_error(host.delete_leaving(name)),
        give_up: RoomHost::give_up_place,
        holds_place: RoomHost::owns_entry,
        find_lost: RoomHost::read_lost,
        close_lost: |host, lost| Box::pin(host.depart_lost(lost)),
    };
}

pub(super) fn key(name: &str) -> String {
    format!("{}{name}", keys::PEERS)
}

pub(super) fn leaving_key(name: &str) -> String {
    format!("{}{name}", keys::LEAVING)
}

/// Returns whether a peer that leaves with this close may reconnect to its place.
///
/// It may if the connection was lost or closed with 1001. A client that closes with another code gives its place up.
pub(super) fn may_return(close: &Close) -> bool {
    close.is_lost() || matches!(close.code, 1001 | 1006)
}

impl Entry {
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.topics.split(' ').any(|other| other == topic)
    }
}

impl RoomHost {
    // Entries.

    pub(super) fn enroll(&self, slot: &Slot, generation: u32, data: &RawValue) -> Result<(), Error> {
        match &self.room.parts.roster {
            Some(roster) => (roster.enroll)(self, slot, generation, data),
            None => Ok(()),
        }
    }

    pub(super) fn put_entry(
        &self,
        slot: &Slot,
        generation: u32,
        data: &RawValue,
        away: Option<Away>,
    ) -> Result<(), Error> {
        let bytes = self.encode_entry(slot, generation, data, away)?;
        self.platform.put(&key(&slot.entry), &bytes).map_err(|refusal| self.roster_error("written", &refusal))
    }

    pub(super) fn encode_entry(
        &self,
        slot: &Slot,
        generation: u32,
        data: &RawValue,
        away: Option<Away>,
    ) -> Result<Vec<u8>, Error> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            name: &'a str,
            id: &'a PeerId,
            connected_at: u64,
            #[serde(skip_serializing_if = "is_zero")]
            generation: u32,
            tags: &'a [String],
            #[serde(skip_serializing_if = "str::is_empty")]
            topics: &'a str,
            #[serde(skip_serializing_if = "is_none")]
            begun: u64,
            data: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            away: Option<Away>,
        }
        let topics = slot.topics.borrow().join(" ");
        let entry = Borrowed {
            name: &slot.entry,
            id: &slot.id,
            connected_at: slot.connected_at,
            generation,
            tags: slot.tags.get_or_init(|| self.tags_of(slot.socket.get())),
            topics: &topics,
            begun: slot.begun.get(),
            data,
            away,
        };
        wire::encode_value(&entry, "the peer's data")
    }

    pub(super) fn entry(&self, name: &str) -> Result<Option<Entry>, Error> {
        let stored = self.platform.get(&key(name)).map_err(|refusal| self.roster_error("read", &refusal))?;
        Ok(stored.and_then(|bytes| self.readable(&bytes, "an entry of the room's roster")))
    }

    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let stored = self.platform.list(keys::PEERS).map_err(|refusal| self.roster_error("read", &refusal))?;
        Ok(stored.iter().filter_map(|bytes| self.readable(bytes, "an entry of the room's roster")).collect())
    }

    /// Decodes a stored value. One that does not decode is logged and does not affect the others.
    pub(super) fn readable<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], what: &str) -> Option<T> {
        let decoded = wire::decode_value(bytes, what);
        decoded.map_err(|error| self.log_error(&error.in_room(&self.id).to_string())).ok()
    }

    pub(super) fn strike(&self, name: &str) -> Result<(), Error> {
        self.platform.delete(&key(name)).map_err(|refusal| self.roster_error("written", &refusal))
    }

    pub(super) fn roster_error(&self, what: &str, refusal: &PlatformError) -> Error {
        Error::new(ErrorKind::Storage, format!("the room's roster could not be {what}: {refusal}")).in_room(&self.id)
    }

    pub(super) fn log_roster_error(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.log_error(&error.to_string());
        }
    }

    /// The peer of an entry whose socket is gone.
    pub(super) fn restore_entry(&self, entry: Entry) -> Result<Rc<Slot>, Error> {
        if entry.away.is_some()
            && let Some(known) = self.away.borrow().get(&entry.name)
        {
            return Ok(known.clone());
        }
        let Entry { name, id, connected_at, generation, tags, topics, begun, data, away } = entry;
        let data = self.room.code.decode_data(data.get()).map_err(|error| {
            wire::decode_failed("the data of a peer in the room's roster", error).in_room(&self.id).of_peer(&id)
        })?;
        let status = if away.is_some() { Status::Away } else { Status::Connected };
        let slot = Slot::new(NO_SOCKET, id, connected_at, data, status, name, generation);
        let _ = slot.tags.set(tags);
        slot.topics.replace(topics::split(&topics));
        slot.begun.set(begun);
        slot.is_enrolled.set(true);
        slot.ended.replace(away.map(|away| away.close));
        let slot = Rc::new(slot);
        if status == Status::Away {
            self.away.borrow_mut().insert(slot.entry.clone(), slot.clone());
        }
        Ok(slot)
    }

    /// Deletes an entry whose data does not decode, and reports it once. No handler can be called without the data.
    pub(super) async fn drop_entry(self: &Rc<Self>, name: &str, id: PeerId, error: Error) {
        self.away.borrow_mut().remove(name);
        self.log_roster_error(self.strike(name).and_then(|()| self.delete_leaving(name)));
        if self.room.parts.places.is_some() {
            self.log_roster_error(self.cancel_grace(name));
        }
        let visit = self.user_closes(name, &id, None);
        let error = HandlerError::new("on_close", Some(id), Failure::from(error));
        self.report_error(error, &self.invocation(None)).await;
        self.user_closed(visit).await;
    }

    // Ends of connections.

    /// Stores how a connection ended, if its end cannot be handled at once, so that a crash does not lose it.
    ///
    /// The first stored close is kept. It is returned if this connection had one already.
    pub(super) fn note_leaving(&self, slot: &Slot, close: &Close) -> Option<Close> {
        let is_known = slot.noted.get().is_some_and(|is_final| is_final || !slot.is_final.get());
        match &self.room.parts.roster {
            Some(roster) if !is_known => (roster.store_leaving)(self, slot, close),
            _ => None,
        }
    }

    fn store_leaving(&self, slot: &Slot, close: &Close) -> Option<Close> {
        let (key, generation) = (leaving_key(&slot.entry), slot.generation.get());
        let known = self.platform.get(&key).ok().flatten();
        let known: Option<Leaving> = known.and_then(|bytes| self.readable(&bytes, "how a connection ended"));
        let known = known.filter(|known| known.generation == generation);
        let is_final = slot.is_final.get() || known.as_ref().is_some_and(|known| known.is_final);
        slot.is_final.set(is_final);
        slot.noted.set(Some(is_final));
        if known.as_ref().is_none_or(|known| known.is_final != is_final) {
            let close = known.as_ref().map_or(close, |known| &known.close).clone();
            let leaving = Leaving { name: slot.entry.clone(), generation, close, is_final };
            let stored = wire::encode_value(&leaving, "how a connection ended").and_then(|bytes| {
                self.platform.put(&key, &bytes).map_err(|refusal| self.roster_error("written", &refusal))
            });
            self.log_roster_error(stored);
        }
        known.map(|known| known.close)
    }

    pub(super) fn forget_leaving(&self, slot: &Slot) {
        if slot.noted.take().is_some()
            && let Some(roster) = &self.room.parts.roster
        {
            (roster.forget_leaving)(self, &slot.entry);
        }
    }

    fn delete_leaving(&self, name: &str) -> Result<(), Error> {
        self.platform.delete(&leaving_key(name)).map_err(|refusal| self.roster_error("written", &refusal))
    }

    /// Closes a connection: its further frames are ignored, and its peer cannot reconnect to the place.
    ///
    /// `on_close` runs when the peer has answered the close, and at the latest when the room is next loaded into
    /// memory.
    pub(crate) fn close_peer(&self, slot: &Slot, code: CloseCode, reason: &str) -> Result<(), PlatformError> {
        // A connection that has ended already is not closed again.
        if slot.ended.borrow().is_some() {
            return Ok(());
        }
        slot.is_final.set(true);
        slot.is_closing.set(true);
        self.note_leaving(slot, &Close::new(code.get(), reason, true));
        let closed = self.platform.close(slot.socket.get(), code.get(), reason);
        // The peer may never answer the close.
        self.schedule_purge_if_empty();
        closed
    }

    /// Closes a connection and runs `on_close` without waiting for the peer's answer, which may never come.
    pub(crate) fn force_close(self: &Rc<Self>, slot: &Rc<Slot>, code: CloseCode, reason: &'static str) {
        slot.is_final.set(true);
        slot.is_closing.set(true);
        let socket = slot.socket.get();
        if socket != NO_SOCKET {
            // The close fails only if the socket is closing already.
            let _ = self.platform.close(socket, code.get(), reason);
        }
        self.schedule_purge_if_empty();
        let ended = slot.ended.borrow().clone();
        let close = ended.unwrap_or_else(|| Close::new(code.get(), reason, true));
        // The running handler may crash before the spawned task begins.
        self.note_leaving(slot, &close);
        self.add_departing(slot);
        let (host, slot, generation) = (self.clone(), slot.clone(), slot.generation.get());
        self.platform.spawn(Box::pin(async move { host.depart(&slot, close, generation).await }));
    }

    /// Handles the end of the connection that had this generation of the place.
    ///
    /// It waits for the peer's turn, and so for its last frame. Then the place is kept for the grace, or given up.
    pub(super) async fn depart(self: &Rc<Self>, slot: &Rc<Slot>, close: Close, generation: u32) {
        let _turn = slot.turn.take().await;
        // A reconnect may have moved the place to another socket.
        if slot.generation.get() != generation || self.departs_elsewhere(slot) {
            return;
        }
        let is_over = match slot.status.get() {
            Status::Gone => true,
            Status::Away => !slot.is_final.get(),
            Status::Connecting | Status::Connected => false,
        };
        let departure = if is_over { Departure::Nothing } else { self.end_place(slot, &close) };
        self.forget_leaving(slot);
        let call = self.invocation(Some(slot));
        match departure {
            Departure::Nothing => {}
            Departure::Away => {
                self.away.borrow_mut().insert(slot.entry.clone(), slot.clone());
                self.user_stays(slot, false).await;
                if self.room.has_on_away {
                    let outcome =
                        self.run("on_away", call.sender.as_deref(), self.room.code.on_away(call.clone(), slot)).await;
                    self.report(outcome, "on_away", &call).await;
                }
            }
            Departure::Closed => {
                let visit = self.user_closes(&slot.entry, &slot.id, Some(slot));
                // A crash in the last `on_close` or `on_leave` must not leave an empty room without a purge.
                self.schedule_purge_if_empty();
                let outcome = self
                    .run("on_close", call.sender.as_deref(), self.room.code.on_close(call.clone(), slot, close))
                    .await;
                self.report(outcome, "on_close", &call).await;
                self.user_closed(visit).await;
            }
        }
        if slot.generation.get() == generation {
            self.departing.borrow_mut().remove(&slot.entry);
        }
        if departure == Departure::Closed {
            // A purge that was due meanwhile waited for the handlers.
            self.schedule_purge_if_empty();
        }
    }

    /// Returns whether another slot of this place departs, or has departed. Then this slot is gone, without a handler.
    ///
    /// After a crash, the start and the close of the socket can each find the same ended connection.
    fn departs_elsewhere(&self, slot: &Rc<Slot>) -> bool {
        if self.room.parts.roster.is_none() || slot.status.get() != Status::Connected || self.is_departing(slot) {
            return false;
        }
        let other_departs = self.departing.borrow().contains_key(&slot.entry);
        if !other_departs && self.owns_entry(slot) {
            return false;
        }
        slot.status.set(Status::Gone);
        if !other_departs {
            self.forget_leaving(slot);
        }
        true
    }

    fn end_place(&self, slot: &Slot, close: &Close) -> Departure {
        match &self.room.parts.roster {
            Some(roster) => (roster.give_up)(self, slot, close),
            None => {
                slot.status.set(Status::Gone);
                self.leave_topics(slot);
                Departure::Nothing
            }
        }
    }

    /// Keeps the place of a lost connection for the grace, or gives it up.
    fn give_up_place(&self, slot: &Slot, close: &Close) -> Departure {
        let was_away = slot.status.get() == Status::Away;
        let places = self.room.parts.places.as_ref().filter(|_| may_return(close) && !slot.is_final.get());
        let outcome = if let Some(places) = places {
            (places.send_away)(self, slot, close).map(|()| Departure::Away)
        } else {
            let name = &slot.entry;
            let cancelled = if was_away { self.cancel_grace(name) } else { Ok(()) };
            cancelled.and_then(|()| self.strike(name)).map(|()| Departure::Closed)
        };
        let departure = outcome.unwrap_or_else(|error| {
            // If storage fails, `on_close` runs now and may run again after a crash. This is better than no `on_close`.
            self.log_error(&error.of_peer(&slot.id).to_string());
            Departure::Closed
        });
        // A handler may read the tags after the socket is forgotten.
        slot.tags.get_or_init(|| self.tags_of(slot.socket.get()));
        if departure == Departure::Away {
            slot.status.set(Status::Away);
        } else {
            self.away.borrow_mut().remove(&slot.entry);
            slot.status.set(Status::Gone);
            self.leave_topics(slot);
        }
        departure
    }

    /// Returns whether the place belongs to this connection. A later connection may have taken it before hibernation or
    /// a crash.
    pub(super) fn holds_place(&self, slot: &Slot) -> bool {
        match &self.room.parts.roster {
            Some(roster) if !slot.is_enrolled.get() && slot.status.get() != Status::Connecting => {
                (roster.holds_place)(self, slot)
            }
            _ => true,
        }
    }

    fn owns_entry(&self, slot: &Slot) -> bool {
        let holds = match self.entry(&slot.entry) {
            Ok(Some(entry)) => entry.generation == slot.generation.get() && entry.away.is_none(),
            Ok(None) => false,
            Err(error) => {
                self.log_error(&error.to_string());
                true
            }
        };
        slot.is_enrolled.set(holds);
        holds
    }

    /// Begins the end of a connection. The peer can reconnect to its place until the end is handled.
    ///
    /// Returns the close that is stored for the connection, or else the given one.
    pub(super) fn begin_departure(&self, slot: &Rc<Slot>, close: Close) -> Close {
        let is_busy = !self.has_started() || slot.turn.is_taken();
        let noted = if is_busy { self.note_leaving(slot, &close) } else { None };
        // A connection that has timed out is closed once more when its client answers.
        let known = slot.ended.borrow().clone();
        let close = known.or(noted).unwrap_or(close);
        if self.room.parts.roster.is_some() {
            slot.ended.replace(Some(close.clone()));
        }
        self.add_departing(slot);
        close
    }

    /// Makes this slot the only one for its place, so that every lookup of the place finds the same slot.
    pub(super) fn add_departing(&self, slot: &Rc<Slot>) {
        if self.room.parts.roster.is_some() {
            self.departing.borrow_mut().insert(slot.entry.clone(), slot.clone());
        }
    }

    // Lost peers.

    /// Finds the peers that are gone and have had no `on_close`.
    ///
    /// `has_sockets` is true if the room is known to have sockets. If it has none, a restart or a deploy has closed
    /// them all.
    pub(super) fn find_lost(&self, has_sockets: bool) -> Result<Vec<Lost>, Error> {
        match &self.room.parts.roster {
            Some(roster) => (roster.find_lost)(self, has_sockets),
            None => Ok(Vec::new()),
        }
    }

    fn read_lost(&self, has_sockets: bool) -> Result<Vec<Lost>, Error> {
        let mut lost: Vec<Lost> = Vec::new();
        let departs = |name: &str| self.departing.borrow().contains_key(name);
        let noted = self.platform.list(keys::LEAVING).map_err(|refusal| self.roster_error("read", &refusal))?;
        for leaving in noted.iter().filter_map(|bytes| self.readable::<Leaving>(bytes, "how a connection ended")) {
            let Leaving { name, generation, close, is_final } = leaving;
            if departs(&name) {
                continue;
            }
            match self.entry(&name)? {
                Some(entry) if entry.generation == generation && (entry.away.is_none() || is_final) => {
                    lost.push(Lost { entry, close, is_final, is_noted: true });
                }
                _ => self.delete_leaving(&name)?,
            }
        }
        if !has_sockets && !self.platform.has_sockets() {
            for entry in self.entries()? {
                let known = lost.iter().any(|other| other.entry.name == entry.name) || departs(&entry.name);
                // The entry may be from an earlier deploy whose code kept places.
                let close = match &entry.away {
                    Some(_) if self.room.parts.places.is_some() => continue,
                    Some(away) => away.close.clone(),
                    None => Close::LOST,
                };
                if !known {
                    let is_final = entry.away.is_some();
                    lost.push(Lost { entry, close, is_final, is_noted: false });
                }
            }
        }
        Ok(lost)
    }

    /// Takes the lost peers into memory, as peers whose connection has ended.
    pub(super) fn hold_lost(&self, lost: Vec<Lost>) -> Held {
        let mut held = Held::default();
        for Lost { entry, close, is_final, is_noted } in lost {
            let (name, id) = (entry.name.clone(), entry.id.clone());
            match self.restore_entry(entry) {
                Ok(slot) => {
                    slot.is_final.set(is_final);
                    slot.noted.set(is_noted.then_some(is_final));
                    slot.ended.replace(Some(close.clone()));
                    self.add_departing(&slot);
                    held.gone.push((slot, close));
                }
                Err(error) => held.unreadable.push((name, id, error)),
            }
        }
        held
    }

    /// Forgets the lost peers until the next start.
    pub(super) fn let_go_of_lost(&self, held: &Held) {
        for (slot, _) in &held.gone {
            if self.is_departing(slot) {
                self.departing.borrow_mut().remove(&slot.entry);
            }
        }
    }

    fn is_departing(&self, slot: &Rc<Slot>) -> bool {
        self.departing.borrow().get(&slot.entry).is_some_and(|other| Rc::ptr_eq(other, slot))
    }

    pub(super) async fn close_lost(self: &Rc<Self>, held: Held) {
        if let Some(roster) = &self.room.parts.roster
            && !(held.gone.is_empty() && held.unreadable.is_empty())
        {
            (roster.close_lost)(self.clone(), held).await;
        }
    }

    async fn depart_lost(self: Rc<Self>, held: Held) {
        let life = self.life.get();
        let Held { mut gone, unreadable } = held;
        // The close of such a peer may have arrived during the start, and waits for it.
        gone.retain(|(slot, _)| self.is_departing(slot));
        gone.iter().for_each(|(slot, _)| self.note_lost(slot));
        for (name, id, error) in unreadable {
            self.drop_entry(&name, id, error).await;
        }
        for (slot, close) in gone {
            // An `on_close` may purge the room, and with it the other lost peers.
            if self.life.get() != life {
                return;
            }
            // The handler runs as a task: one that waits, for example for a call to its own room, does not block the
            // start.
            let host = self.clone();
            let closing = async move {
                let generation = slot.generation.get();
                host.depart(&slot, close, generation).await;
            };
            self.begin(Box::pin(closing)).await;
        }
    }

    // Presence.

    pub(crate) fn presence(&self) -> Result<Vec<User>, Error> {
        let mut users: BTreeMap<PeerId, User> = BTreeMap::new();
        let absent = |id: &PeerId| User { id: id.clone(), peers: Vec::new(), away_since: None };
        for slot in self.platform.open(None).into_iter().filter_map(|socket| self.slot_of(socket)) {
            users.entry(slot.id.clone()).or_insert_with(|| absent(&slot.id)).peers.push(slot);
        }
        if self.room.parts.places.is_some() {
            for slot in self.departing.borrow().values().filter(|slot| slot.status.get() == Status::Connected) {
                // The place of this peer will be kept.
                if may_come_back(slot) {
                    let user = users.entry(slot.id.clone()).or_insert_with(|| absent(&slot.id));
                    if user.peers.is_empty() {
                        user.away_since = Some(self.platform.now_ms());
                    }
                }
            }
            for entry in self.entries()? {
                if let Some(away) = entry.away {
                    let user = users.entry(entry.id.clone()).or_insert_with(|| absent(&entry.id));
                    if user.peers.is_empty() {
                        user.away_since = Some(user.away_since.map_or(away.since_ms, |since| since.max(away.since_ms)));
                    }
                }
            }
        }
        Ok(users.into_values().collect())
    }
}
