//! The roster: who is connected, kept in storage, so that those whose sockets vanished with a restart are seen off, and those
//! who come back in time keep their place.
//!
//! An entry says that `on_connect` has succeeded and `on_close` has not begun. It goes in the stretch in which `on_close`
//! begins: a crash before that leaves it to be found, and one after it does not run `on_close` again.

use std::{cell::RefMut, collections::BTreeMap, rc::Rc};

use serde::{Deserialize, Serialize};

use super::RoomHost;
use crate::{
    Close, Error, ErrorKind, Peer, PeerId, Presence, Room,
    peer::{Slot, Status},
    platform::*,
    schedule::What,
    tickets::{is_ticket, new_ticket},
    wire,
};

/// The storage keys of the entries begin like this; the entry's name follows.
const PREFIX: &str = "room:peer:";

/// The storage key of those that asked to leave, and have not been seen off since something had to end before.
const LEAVING_KEY: &str = "room:leaving";

/// One peer in storage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry<C> {
    /// Its name: also the token by which the peer shows, when it comes back, that it is the one.
    pub(super) name: String,
    pub(super) id: PeerId,
    pub(super) connected_at: u64,
    pub(super) tags: Vec<String>,
    pub(super) data: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    away: Option<Away>,
}

/// A peer whose connection is gone, and whose time to come back is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Away {
    since_ms: u64,
    close: Close,
}

/// Those that asked to leave, by the name of their entry, and have not been seen off.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Of whom the last incarnation did not come to see them off.
    inherited: Vec<(String, Close)>,
    /// Whose `on_close` this one is going to run.
    own: Vec<(String, Close)>,
}

/// The place that a peer comes back to, and its old socket, if the room has not noticed that the connection is gone.
type Place<R> = (Entry<<R as Room>::Connection>, Option<Peer<R>>);

/// A name that no one can guess.
pub(super) fn new_name(random: [u8; 16]) -> String {
    new_ticket(random)
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Whether who leaves like this may come back: it has lost its connection, or goes away for now. A client that closes on
/// purpose does not.
fn may_return(close: &Close) -> bool {
    close.is_lost() || matches!(close.code, 1001 | 1006)
}

impl<R: Room> RoomHost<R> {
    /// Whether anyone could ever ask.
    const KEEPS_ROSTER: bool = R::HAS_ON_CLOSE || R::RECONNECT_GRACE_MS > 0;

    pub(crate) fn enroll(&self, peer: &Slot<R>, data: &R::Connection) -> Result<(), Error> {
        if !Self::KEEPS_ROSTER {
            return Ok(());
        }
        let tags = peer.tags.get_or_init(|| self.tags_of(peer.socket)).clone();
        self.put_entry(&Entry {
            name: peer.entry.clone(),
            id: peer.id.clone(),
            connected_at: peer.connected_at,
            tags,
            data,
            away: None,
        })
    }

    fn put_entry<C: Serialize>(&self, entry: &Entry<C>) -> Result<(), Error> {
        let bytes = wire::encode_value(entry, "the peer's data")?;
        self.platform.put(&key(&entry.name), &bytes).map_err(|refusal| self.roster_error("written", &refusal))
    }

    fn entry(&self, name: &str) -> Result<Option<Entry<R::Connection>>, Error> {
        let stored = self.platform.get(&key(name)).map_err(|refusal| self.roster_error("read", &refusal))?;
        stored.map(|bytes| wire::decode_value(&bytes, "an entry of the room's roster")).transpose()
    }

    fn entries(&self) -> Result<Vec<Entry<R::Connection>>, Error> {
        let stored = self.platform.list(PREFIX).map_err(|refusal| self.roster_error("read", &refusal))?;
        stored.iter().map(|bytes| wire::decode_value(bytes, "an entry of the room's roster")).collect()
    }

    fn strike(&self, name: &str) -> Result<(), Error> {
        self.platform.delete(&key(name)).map_err(|refusal| self.roster_error("written", &refusal))
    }

    fn roster_error(&self, what: &str, refusal: &Refusal) -> Error {
        Error::new(ErrorKind::Storage, format!("the room's roster could not be {what}: {refusal}")).in_room(&self.id)
    }

    fn of_entry(self: &Rc<Self>, entry: Entry<R::Connection>) -> Peer<R> {
        let Entry { name, id, connected_at, tags, data, .. } = entry;
        let slot = Slot::new(NO_SOCKET, id, connected_at, data, Status::Connected, name);
        let _ = slot.tags.set(tags);
        Peer { host: self.clone(), slot: Rc::new(slot) }
    }

    /// Notes who asked to leave before whatever has to end first: a crash meanwhile does not make a ghost of it.
    pub(super) fn note_leaving(&self, peer: &Peer<R>, close: &Close) {
        if !Self::KEEPS_ROSTER {
            return;
        }
        let noted = self.leaving().and_then(|mut leaving| {
            leaving.own.push((peer.slot.entry.clone(), close.clone()));
            self.store_leaving(&leaving)
        });
        self.log_roster_error(noted);
    }

    fn forget_leaving(&self, name: &str) {
        let forgotten = self.leaving().and_then(|mut leaving| {
            let is_other = |(other, _): &(String, Close)| other != name;
            if leaving.own.iter().chain(&leaving.inherited).all(is_other) {
                return Ok(());
            }
            leaving.own.retain(is_other);
            leaving.inherited.retain(is_other);
            self.store_leaving(&leaving)
        });
        self.log_roster_error(forgotten);
    }

    /// Read from storage when it is first of interest.
    fn leaving(&self) -> Result<RefMut<'_, Leaving>, Error> {
        let mut leaving = self.leaving.borrow_mut();
        if leaving.is_none() {
            let stored = self.platform.get(LEAVING_KEY).map_err(|refusal| self.roster_error("read", &refusal))?;
            let inherited = stored.map(|bytes| wire::decode_value(&bytes, "who is leaving")).transpose()?;
            *leaving = Some(Leaving { inherited: inherited.unwrap_or_default(), own: Vec::new() });
        }
        Ok(RefMut::map(leaving, Option::get_or_insert_default))
    }

    fn store_leaving(&self, leaving: &Leaving) -> Result<(), Error> {
        let all: Vec<_> = leaving.inherited.iter().chain(&leaving.own).collect();
        let stored = if all.is_empty() {
            self.platform.delete(LEAVING_KEY)
        } else {
            self.platform.put(LEAVING_KEY, &wire::encode_value(&all, "who is leaving")?)
        };
        stored.map_err(|refusal| self.roster_error("written", &refusal))
    }

    fn log_roster_error(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.platform.log_error(&error.to_string());
        }
    }

    /// A peer's end begins, in its turn: it keeps its place for a while, or is seen off. True when `on_close` is to run.
    pub(super) fn begin_departure(&self, peer: &Peer<R>, close: &Close) -> bool {
        if !Self::KEEPS_ROSTER {
            return false;
        }
        let name = &peer.slot.entry;
        let outcome = if R::RECONNECT_GRACE_MS > 0 && may_return(close) && !peer.slot.is_final.get() {
            self.send_away(peer, close).map(|()| false)
        } else {
            self.strike(name).map(|()| true)
        };
        self.forget_leaving(name);
        outcome.unwrap_or_else(|error| {
            // Seen off twice, after a crash, is better than never.
            self.platform.log_error(&error.of_peer(peer.id()).to_string());
            true
        })
    }

    fn send_away(&self, peer: &Peer<R>, close: &Close) -> Result<(), Error> {
        let now_ms = self.platform.now_ms();
        let slot = &peer.slot;
        let entry = Entry {
            name: slot.entry.clone(),
            id: slot.id.clone(),
            connected_at: slot.connected_at,
            tags: peer.tags().to_vec(),
            data: &**slot.data.borrow(),
            away: Some(Away { since_ms: now_ms, close: close.clone() }),
        };
        self.store_id()?;
        self.put_entry(&entry)?;
        let due_ms = now_ms.saturating_add(R::RECONNECT_GRACE_MS);
        self.schedules.add(self.platform.as_ref(), What::Grace(slot.entry.clone()), None, due_ms, None).map(drop)
    }

    /// The time of a peer that is away is over.
    pub(super) async fn end_grace(self: &Rc<Self>, name: &str) {
        let entry = self.entry(name).unwrap_or_else(|error| {
            self.platform.log_error(&error.to_string());
            None
        });
        if let Some(entry) = entry
            && let Some(Away { close, .. }) = entry.away.clone()
        {
            let peer = self.of_entry(entry);
            peer.slot.is_final.set(true);
            self.part(&peer, close).await;
        }
    }

    /// The place of a peer that comes back with its token: its entry, and its old socket if the room has not noticed that
    /// the connection is gone.
    pub(super) fn place_of(self: &Rc<Self>, id: &PeerId, token: &str) -> Result<Option<Place<R>>, Error> {
        // It becomes part of a storage key.
        if R::RECONNECT_GRACE_MS == 0 || !is_ticket(token) {
            return Ok(None);
        }
        let Some(mut entry) = self.entry(token)?.filter(|entry| entry.id == *id) else { return Ok(None) };
        let sockets = self.platform.open(Some(&crate::upgrade::id_tag(id.as_str())));
        let old = sockets.into_iter().filter_map(|socket| self.peer(socket)).find(|peer| peer.slot.entry == token);
        match (&old, &entry.away) {
            (Some(old), _) => entry.data = R::Connection::clone(&old.slot.data.borrow()),
            (None, Some(_)) => {}
            // Its `on_close` is about to begin.
            (None, None) => return Ok(None),
        }
        Ok(Some((entry, old)))
    }

    pub(super) fn take_place(&self, name: &str) -> Result<(), Error> {
        self.schedules.cancel_own(self.platform.as_ref(), |what| matches!(what, What::Grace(other) if other == name))
    }

    /// Who is gone without having been seen off. `has_sockets` is true when it is known that the room has some: a restart,
    /// or a deploy, leaves none.
    pub(super) fn find_lost(self: &Rc<Self>, has_sockets: bool) -> Result<Vec<(Peer<R>, Close)>, Error> {
        let mut lost = Vec::new();
        if !Self::KEEPS_ROSTER {
            return Ok(lost);
        }
        let inherited = self.leaving()?.inherited.clone();
        for (name, close) in inherited {
            match self.entry(&name)? {
                Some(entry) if entry.away.is_none() => lost.push((self.of_entry(entry), close)),
                _ => self.forget_leaving(&name),
            }
        }
        if !has_sockets && !self.platform.has_sockets() {
            for entry in self.entries()? {
                let known = lost.iter().any(|(peer, _)| peer.slot.entry == entry.name);
                if entry.away.is_none() && !known {
                    lost.push((self.of_entry(entry), Close::LOST));
                }
            }
        }
        Ok(lost)
    }

    /// Whether nobody is here, and nobody may come back.
    pub(super) fn is_deserted(&self) -> bool {
        self.platform.open(None).is_empty()
            && (R::RECONNECT_GRACE_MS == 0 || self.entries().is_ok_and(|entries| entries.is_empty()))
    }

    pub(crate) fn presence(self: &Rc<Self>) -> Result<Vec<Presence<R>>, Error> {
        let mut users: BTreeMap<PeerId, Presence<R>> = BTreeMap::new();
        let absent = |id: &PeerId| Presence { id: id.clone(), peers: Vec::new(), away_since: None };
        for peer in self.platform.open(None).into_iter().filter_map(|socket| self.peer(socket)) {
            if peer.slot.status.get() == Status::Connected {
                users.entry(peer.id().clone()).or_insert_with(|| absent(peer.id())).peers.push(peer);
            }
        }
        if R::RECONNECT_GRACE_MS > 0 {
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
