//! The roster: the stored list of the room's peers.
//!
//! With it, peers whose sockets are lost in a restart get their `on_close`, and peers that reconnect in time keep their
//! place.
//!
//! An entry, a *place*, exists from the success of `on_connect` to the begin of `on_close`. It belongs to one socket at
//! a time. Each reconnect increments the generation of the place, which both the entry and the socket's attachment
//! carry. The late close of an earlier socket has an old generation and is ignored, even after hibernation or a crash.
//!
//! The entry is deleted when `on_close` begins, with no wait between. A crash before that leaves the entry, and the room
//! runs `on_close` at its next start; after a later crash `on_close` does not run again.

use std::{collections::BTreeMap, rc::Rc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RoomHost;
use crate::wire::handshake::id_tag;
use crate::wire::keys;
use crate::{
    Close, CloseCode, Error, ErrorKind, Failure, HandlerError, Peer, PeerId, Presence, Room,
    engine::{
        schedules::Job,
        slot::{Slot, Status},
    },
    platform::*,
    wire::{self, is_ticket, new_ticket},
};

/// The prefixes of the storage keys that hold peers.
pub(super) const PREFIXES: [&str; 2] = [keys::PEERS, keys::LEAVING];

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
    data: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) away: Option<Away>,
}

fn is_zero(generation: &u32) -> bool {
    *generation == 0
}

/// The absence of a peer whose connection is lost and whose grace is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Away {
    since_ms: u64,
    pub(super) close: Close,
}

/// The stored end of a connection that could not be handled at once.
///
/// The reasons are: a handler of the peer was running, the room had not started, or the peer has not answered the
/// room's close. A crash or hibernation does not lose the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Leaving {
    name: String,
    generation: u32,
    close: Close,
    /// True if a reconnect is excluded, because the room closed the connection.
    is_final: bool,
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

/// Makes an unguessable name for an entry.
pub(super) fn new_name(random: [u8; 16]) -> String {
    new_ticket(random)
}

fn key(name: &str) -> String {
    format!("{}{name}", keys::PEERS)
}

fn leaving_key(name: &str) -> String {
    format!("{}{name}", keys::LEAVING)
}

/// Returns whether a peer that leaves with this close may reconnect to its place.
///
/// It may if the connection was lost or closed with 1001. A client that closes with another code gives its place up.
fn may_return(close: &Close) -> bool {
    close.is_lost() || matches!(close.code, 1001 | 1006)
}

impl<R: Room> RoomHost<R> {
    /// True if the room keeps a roster.
    pub(super) const KEEPS_ROSTER: bool = R::HAS_ON_CLOSE || R::RECONNECT_GRACE_MS > 0;

    /// True if the loss of a peer has consequences that must not wait for the room's next event.
    pub(super) const HAS_WATCHDOG: bool = Self::KEEPS_ROSTER || R::PURGE_AFTER_MS > 0;

    pub(super) const KEEPS_PLACES: bool = R::RECONNECT_GRACE_MS > 0;

    // Entries.

    pub(crate) fn enroll(&self, slot: &Slot<R>, generation: u32, data: &RawValue) -> Result<(), Error> {
        if Self::KEEPS_ROSTER { self.put_entry(slot, generation, data, None) } else { Ok(()) }
    }

    fn put_entry(&self, slot: &Slot<R>, generation: u32, data: &RawValue, away: Option<Away>) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            name: &'a str,
            id: &'a PeerId,
            connected_at: u64,
            #[serde(skip_serializing_if = "is_zero")]
            generation: u32,
            tags: &'a [String],
            data: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            away: Option<Away>,
        }
        let entry = Borrowed {
            name: &slot.entry,
            id: &slot.id,
            connected_at: slot.connected_at,
            generation,
            tags: slot.tags.get_or_init(|| self.tags_of(slot.socket.get())),
            data,
            away,
        };
        let bytes = wire::encode_value(&entry, "the peer's data")?;
        self.platform.put(&key(&slot.entry), &bytes).map_err(|refusal| self.roster_error("written", &refusal))
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
    fn readable<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], what: &str) -> Option<T> {
        let decoded = wire::decode_value(bytes, what);
        decoded.map_err(|error| self.platform.log_error(&error.in_room(&self.id).to_string())).ok()
    }

    fn strike(&self, name: &str) -> Result<(), Error> {
        self.platform.delete(&key(name)).map_err(|refusal| self.roster_error("written", &refusal))
    }

    fn roster_error(&self, what: &str, refusal: &PlatformError) -> Error {
        Error::new(ErrorKind::Storage, format!("the room's roster could not be {what}: {refusal}")).in_room(&self.id)
    }

    fn log_roster_error(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.platform.log_error(&error.to_string());
        }
    }

    /// The peer of an entry whose socket is gone.
    fn peer_of(self: &Rc<Self>, entry: Entry) -> Result<Peer<R>, Error> {
        let Entry { name, id, connected_at, generation, tags, data, away } = entry;
        let data = wire::decode_value(data.get().as_bytes(), "the data of a peer in the room's roster")
            .map_err(|error| error.in_room(&self.id).of_peer(&id))?;
        let status = if away.is_some() { Status::Away } else { Status::Connected };
        let slot = Slot::new(NO_SOCKET, id, connected_at, data, status, name, generation);
        let _ = slot.tags.set(tags);
        slot.is_enrolled.set(true);
        slot.ended.replace(away.map(|away| away.close));
        Ok(Peer { host: self.clone(), slot: Rc::new(slot) })
    }

    /// Deletes an entry whose data does not decode, and reports it once. No handler can be called without the data.
    async fn drop_entry(self: &Rc<Self>, name: &str, id: PeerId, error: Error) {
        self.log_roster_error(self.strike(name).and_then(|()| self.delete_leaving(name)));
        if Self::KEEPS_PLACES {
            self.log_roster_error(self.take_place(name));
        }
        let ctx = self.context(None);
        self.report_error(&HandlerError::new("on_close", Some(id), Failure::from(error)), &ctx).await;
    }

    // Ends of connections.

    /// Stores how a connection ended, if its end cannot be handled at once, so that a crash does not lose it.
    ///
    /// The first stored close is kept. It is returned if this connection had one already.
    pub(super) fn note_leaving(&self, peer: &Peer<R>, close: &Close) -> Option<Close> {
        let slot = &peer.slot;
        let is_known = slot.noted.get().is_some_and(|is_final| is_final || !slot.is_final.get());
        if !Self::KEEPS_ROSTER || is_known {
            return None;
        }
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

    pub(super) fn forget_leaving(&self, slot: &Slot<R>) {
        if slot.noted.take().is_some() {
            self.log_roster_error(self.delete_leaving(&slot.entry));
        }
    }

    fn delete_leaving(&self, name: &str) -> Result<(), Error> {
        self.platform.delete(&leaving_key(name)).map_err(|refusal| self.roster_error("written", &refusal))
    }

    /// Closes a connection: its further frames are ignored, and its peer cannot reconnect to the place.
    ///
    /// `on_close` runs when the peer has answered the close, and at the latest when the room is next loaded into
    /// memory.
    pub(crate) fn close_peer(&self, peer: &Peer<R>, code: CloseCode, reason: &str) -> Result<(), PlatformError> {
        // A connection that has ended already is not closed again.
        if peer.slot.ended.borrow().is_some() {
            return Ok(());
        }
        peer.slot.is_final.set(true);
        peer.slot.is_closing.set(true);
        self.note_leaving(peer, &Close::new(code.get(), reason, true));
        let closed = self.platform.close(peer.slot.socket.get(), code.get(), reason);
        // The peer may never answer the close.
        self.schedule_purge_if_empty();
        closed
    }

    /// Closes a connection and runs `on_close` without waiting for the peer's answer, which may never come.
    pub(crate) fn force_close(self: &Rc<Self>, peer: &Peer<R>, code: CloseCode, reason: &'static str) {
        let slot = &peer.slot;
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
        self.note_leaving(peer, &close);
        self.add_departing(slot);
        let (host, peer, generation) = (self.clone(), peer.clone(), slot.generation.get());
        self.platform.spawn(Box::pin(async move { host.depart(&peer, close, generation).await }));
    }

    /// Handles the end of the connection that had this generation of the place.
    ///
    /// It waits for the peer's turn, and so for its last frame. Then the place is kept for the grace, or given up.
    pub(super) async fn depart(self: &Rc<Self>, peer: &Peer<R>, close: Close, generation: u32) {
        let slot = &peer.slot;
        let _turn = slot.turn.take().await;
        // A reconnect may have moved the place to another socket.
        if slot.generation.get() != generation {
            return;
        }
        let is_over = match slot.status.get() {
            Status::Gone => true,
            Status::Away => !slot.is_final.get(),
            Status::Connecting | Status::Connected => false,
        };
        let departure = if is_over { Departure::Nothing } else { self.end_place(slot, &close) };
        self.forget_leaving(slot);
        let ctx = self.context(Some(peer));
        match departure {
            Departure::Nothing => {}
            Departure::Away => {
                if R::HAS_ON_AWAY {
                    let outcome = self.run(R::on_away(&ctx, peer)).await;
                    self.report(outcome, "on_away", Some(peer), &ctx).await;
                }
            }
            Departure::Closed => {
                let outcome = self.run(R::on_close(&ctx, peer, close)).await;
                self.report(outcome, "on_close", Some(peer), &ctx).await;
            }
        }
        if slot.generation.get() == generation {
            self.departing.borrow_mut().remove(&slot.entry);
        }
    }

    fn end_place(&self, slot: &Slot<R>, close: &Close) -> Departure {
        if !Self::KEEPS_ROSTER {
            slot.status.set(Status::Gone);
            return Departure::Nothing;
        }
        let was_away = slot.status.get() == Status::Away;
        let outcome = if Self::KEEPS_PLACES && may_return(close) && !slot.is_final.get() {
            self.send_away(slot, close).map(|()| Departure::Away)
        } else {
            let name = &slot.entry;
            let cancelled = if was_away { self.take_place(name) } else { Ok(()) };
            cancelled.and_then(|()| self.strike(name)).map(|()| Departure::Closed)
        };
        let departure = outcome.unwrap_or_else(|error| {
            // If storage fails, `on_close` runs now and may run again after a crash. This is better than no `on_close`.
            self.platform.log_error(&error.of_peer(&slot.id).to_string());
            Departure::Closed
        });
        // A handler may read the tags after the socket is forgotten.
        slot.tags.get_or_init(|| self.tags_of(slot.socket.get()));
        slot.status.set(if departure == Departure::Away { Status::Away } else { Status::Gone });
        departure
    }

    /// Returns whether the place belongs to this connection. A later connection may have taken it before hibernation or
    /// a crash.
    pub(super) fn holds_place(&self, slot: &Slot<R>) -> bool {
        if !Self::KEEPS_ROSTER || slot.is_enrolled.get() || slot.status.get() == Status::Connecting {
            return true;
        }
        let holds = match self.entry(&slot.entry) {
            Ok(Some(entry)) => entry.generation == slot.generation.get() && entry.away.is_none(),
            Ok(None) => false,
            Err(error) => {
                self.platform.log_error(&error.to_string());
                true
            }
        };
        slot.is_enrolled.set(holds);
        holds
    }

    /// Begins the end of a connection. The peer can reconnect to its place until the end is handled.
    ///
    /// Returns the close that is stored for the connection, or else the given one.
    pub(super) fn begin_departure(&self, peer: &Peer<R>, close: Close) -> Close {
        let slot = &peer.slot;
        let is_busy = !self.has_started() || slot.turn.is_taken();
        let noted = if is_busy { self.note_leaving(peer, &close) } else { None };
        let close = noted.unwrap_or(close);
        if Self::KEEPS_ROSTER {
            slot.ended.replace(Some(close.clone()));
        }
        self.add_departing(slot);
        close
    }

    /// Makes this slot the only one for its place, so that every lookup of the place finds the same slot.
    fn add_departing(&self, slot: &Rc<Slot<R>>) {
        if Self::KEEPS_ROSTER {
            self.departing.borrow_mut().insert(slot.entry.clone(), slot.clone());
        }
    }

    fn send_away(&self, slot: &Slot<R>, close: &Close) -> Result<(), Error> {
        let now_ms = self.platform.now_ms();
        let data = self.encode_data(&slot.id, &slot.data.borrow())?;
        self.store_id()?;
        // The schedule is written before the entry: after a crash between them it finds a peer that is not away and
        // does nothing.
        let due_ms = now_ms.saturating_add(R::RECONNECT_GRACE_MS);
        self.schedules.add(self.platform.as_ref(), Job::Grace(slot.entry.clone()), None, due_ms, None)?;
        self.put_entry(slot, slot.generation.get(), &data, Some(Away { since_ms: now_ms, close: close.clone() }))?;
        slot.ended.replace(Some(close.clone()));
        Ok(())
    }

    /// Ends the grace of a peer: its place is given up.
    pub(super) async fn end_grace(self: &Rc<Self>, name: &str) {
        let departing = self.departing.borrow().get(name).cloned();
        let peer = match departing {
            // The peer's `on_away` is still running.
            Some(slot) => Peer { host: self.clone(), slot },
            None => match self.entry(name) {
                Ok(Some(entry)) if entry.away.is_some() => {
                    let id = entry.id.clone();
                    match self.peer_of(entry) {
                        Ok(peer) => peer,
                        Err(error) => return self.drop_entry(name, id, error).await,
                    }
                }
                Ok(_) => return,
                Err(error) => return self.platform.log_error(&error.to_string()),
            },
        };
        if peer.slot.status.get() != Status::Away {
            return;
        }
        peer.slot.is_final.set(true);
        self.add_departing(&peer.slot);
        let close = peer.slot.ended.borrow().clone().unwrap_or(Close::LOST);
        let generation = peer.slot.generation.get();
        self.depart(&peer, close, generation).await;
    }

    // Places.

    /// Returns whether this token is the name of a place, kept or connected.
    pub(super) fn has_place(&self, token: &str) -> bool {
        Self::KEEPS_PLACES && is_ticket(token) && self.platform.get(&key(token)).is_ok_and(|entry| entry.is_some())
    }

    /// The slot of the place to which a peer reconnects with this token.
    ///
    /// The slot still has a socket if the room has not noticed, or not yet handled, the loss of the connection.
    pub(super) fn place_of(self: &Rc<Self>, id: &PeerId, token: &str) -> Result<Option<Rc<Slot<R>>>, Error> {
        // The token becomes part of a storage key, so its format is checked first.
        if !Self::KEEPS_PLACES || !is_ticket(token) {
            return Ok(None);
        }
        let departing = self.departing.borrow().get(token).cloned();
        if let Some(slot) = departing {
            return Ok(Some(slot).filter(|slot| Self::may_come_back(slot) && slot.id == *id));
        }
        let sockets = self.platform.open(Some(&id_tag(id.as_str())));
        let connected = sockets.into_iter().filter_map(|socket| self.peer(socket));
        let mut connected = connected.filter(|peer| peer.slot.entry == token);
        if let Some(peer) = connected.next() {
            // There is no place until `on_connect` has succeeded.
            let is_there = peer.slot.status.get() == Status::Connected && !peer.slot.is_final.get();
            return Ok(Some(peer.slot).filter(|_| is_there));
        }
        // The socket may be closing while the room has not handled its close yet.
        let closing = self.slots.borrow().iter().flatten().find(|slot| slot.entry == token).cloned();
        if let Some(slot) = closing {
            let is_there = slot.status.get() == Status::Connected && !slot.is_final.get() && slot.id == *id;
            return Ok(Some(slot).filter(|_| is_there));
        }
        let entry = self.entry(token)?.filter(|entry| entry.id == *id);
        let Some(entry) = entry else { return Ok(None) };
        if entry.away.is_none() && self.was_closed(token)? {
            return Ok(None);
        }
        match self.peer_of(entry) {
            Ok(peer) => Ok(Some(peer.slot)),
            Err(error) => {
                // The entry is reported when its grace ends. Until then the peer joins as a new one.
                self.platform.log_error(&error.to_string());
                Ok(None)
            }
        }
    }

    /// Returns whether the connection that has this place was closed for good: by the room, or by the peer.
    fn was_closed(&self, name: &str) -> Result<bool, Error> {
        let stored = self.platform.get(&leaving_key(name)).map_err(|refusal| self.roster_error("read", &refusal))?;
        let leaving: Option<Leaving> = stored.and_then(|bytes| self.readable(&bytes, "how a connection ended"));
        Ok(leaving.is_some_and(|leaving| leaving.is_final || !may_return(&leaving.close)))
    }

    /// Returns whether a peer whose connection has ended may reconnect to its place.
    fn may_come_back(slot: &Slot<R>) -> bool {
        let is_there = matches!(slot.status.get(), Status::Connected | Status::Away) && !slot.is_final.get();
        is_there && slot.ended.borrow().as_ref().is_some_and(may_return)
    }

    pub(super) fn take_place(&self, name: &str) -> Result<(), Error> {
        self.schedules.cancel_own(self.platform.as_ref(), |job| matches!(job, Job::Grace(other) if other == name))
    }

    /// The number of places that are kept for disconnected peers. They count for `max_peers`.
    pub(super) fn count_kept(&self) -> Result<usize, Error> {
        if !Self::KEEPS_PLACES {
            return Ok(0);
        }
        let departing = self.departing.borrow();
        // Peers that are away already are counted by their schedules.
        let undecided = |slot: &&Rc<Slot<R>>| slot.status.get() == Status::Connected && Self::may_come_back(slot);
        let kept = self.schedules.graces(self.platform.as_ref()).map_err(|error| error.in_room(&self.id))?;
        Ok(kept + departing.values().filter(undecided).count())
    }

    /// The places that are kept for disconnected peers of this id.
    pub(super) fn kept_for(self: &Rc<Self>, id: &PeerId) -> Result<Vec<Peer<R>>, Error> {
        if !Self::KEEPS_PLACES {
            return Ok(Vec::new());
        }
        let departing: Vec<_> = self.departing.borrow().values().filter(|slot| slot.id == *id).cloned().collect();
        let mut kept: Vec<_> = departing.into_iter().map(|slot| Peer { host: self.clone(), slot }).collect();
        for name in self.schedules.grace_names(self.platform.as_ref())? {
            if kept.iter().all(|peer| peer.slot.entry != name)
                && let Some(entry) = self.entry(&name)?.filter(|entry| entry.id == *id && entry.away.is_some())
            {
                match self.peer_of(entry) {
                    Ok(peer) => kept.push(peer),
                    Err(error) => self.platform.log_error(&error.to_string()),
                }
            }
        }
        Ok(kept)
    }

    // Lost peers.

    /// Finds the peers that are gone and have had no `on_close`.
    ///
    /// `has_sockets` is true if the room is known to have sockets. If it has none, a restart or a deploy has closed
    /// them all.
    pub(super) fn find_lost(&self, has_sockets: bool) -> Result<Vec<Lost>, Error> {
        let mut lost: Vec<Lost> = Vec::new();
        if !Self::KEEPS_ROSTER {
            return Ok(lost);
        }
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
                    Some(_) if Self::KEEPS_PLACES => continue,
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

    pub(super) async fn close_lost(self: &Rc<Self>, lost: Vec<Lost>) {
        let life = self.life.get();
        let (mut gone, mut unreadable) = (Vec::new(), Vec::new());
        for Lost { entry, close, is_final, is_noted } in lost {
            let (name, id) = (entry.name.clone(), entry.id.clone());
            // The close of this peer may have arrived during the start, and waits for it.
            if self.departing.borrow().contains_key(&name) {
                continue;
            }
            match self.peer_of(entry) {
                Ok(peer) => {
                    peer.slot.is_final.set(is_final);
                    peer.slot.noted.set(is_noted.then_some(is_final));
                    peer.slot.ended.replace(Some(close.clone()));
                    self.add_departing(&peer.slot);
                    gone.push((peer, close));
                }
                Err(error) => unreadable.push((name, id, error)),
            }
        }
        for (name, id, error) in unreadable {
            self.drop_entry(&name, id, error).await;
        }
        for (peer, close) in gone {
            // An `on_close` may purge the room, and with it the other lost peers.
            if self.life.get() != life {
                return;
            }
            // The handler runs as a task: one that waits, for example for a call to its own room, does not block the
            // start.
            let host = self.clone();
            self.begin(async move {
                let generation = peer.slot.generation.get();
                host.depart(&peer, close, generation).await;
            })
            .await;
        }
    }

    // Empty rooms.

    /// Returns whether the room has no open socket and no kept place.
    pub(super) fn is_deserted(&self) -> Result<bool, Error> {
        Ok(self.platform.open(None).is_empty() && self.count_kept()? == 0)
    }

    /// Records that a peer joined: a room that no peer ever joined is not purged.
    pub(super) fn note_joined(&self) {
        if R::PURGE_AFTER_MS == 0 {
            return;
        }
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
        if R::PURGE_AFTER_MS == 0 || !self.started.get() {
            return;
        }
        let platform = self.platform.as_ref();
        let plan = || {
            if !self.is_deserted()? || !self.was_joined()? || self.schedules.has_purge(platform)? {
                return Ok(());
            }
            self.store_id()?;
            let due_ms = self.platform.now_ms().saturating_add(R::PURGE_AFTER_MS);
            self.schedules.add(platform, Job::Purge, None, due_ms, None).map(drop)
        };
        self.log_roster_error(plan().map_err(|error: Error| error.in_room(&self.id)));
    }

    // Presence.

    pub(crate) fn presence(self: &Rc<Self>) -> Result<Vec<Presence<R>>, Error> {
        let mut users: BTreeMap<PeerId, Presence<R>> = BTreeMap::new();
        let absent = |id: &PeerId| Presence { id: id.clone(), peers: Vec::new(), away_since: None };
        for peer in self.platform.open(None).into_iter().filter_map(|socket| self.peer(socket)) {
            users.entry(peer.id().clone()).or_insert_with(|| absent(peer.id())).peers.push(peer);
        }
        if Self::KEEPS_PLACES {
            for slot in self.departing.borrow().values().filter(|slot| slot.status.get() == Status::Connected) {
                // The place of this peer will be kept.
                if Self::may_come_back(slot) {
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
