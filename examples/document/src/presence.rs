//! The users who are present: the awareness of Yjs.
//!
//! Each client has a state, with a clock that rises with each change, and sends it again every 15 seconds. Others forget a client whose
//! state they did not get for 30 seconds. A provider also sends each state on that it gets, so the room gets as many copies as there are
//! clients. The room keeps the state of a client for the connection that it came from, its owner, and ignores the copies of the others:
//! so a copy is no news, and nobody changes or ends the presence of somebody else.
//!
//! States and clocks are in memory only. Stored, each of the four states that a client sends in a minute would be a written row. Only
//! the id of the client is stored with its connection, once. After hibernation the clients send the rest again, or are asked for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use room_runtime::prelude::*;

use crate::wire::Entry;

/// The time after which the clients forget a client whose state they did not get: `outdatedTimeout` of y-protocols.
const OUTDATED_MS: u64 = 30_000;

/// The most clients that have left and are remembered.
const MAX_DEPARTED: usize = 256;

#[derive(Debug)]
struct Known {
    owner: PeerId,
    /// The last state; `None` after hibernation, until the owner sends it again.
    last: Option<Entry>,
    heard_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Presence {
    clients: BTreeMap<u64, Known>,
    /// Clients whose connection has ended, the last one at the end. A copy of their state can still arrive.
    departed: VecDeque<Departed>,
}

#[derive(Debug)]
struct Departed {
    client: u64,
    /// The peers that sent a copy of its state since, and know now that it has left.
    told: BTreeSet<PeerId>,
}

/// The consequences of the states that a peer has sent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// For all, also for the sender: its provider reconnects if it gets nothing for 30 seconds.
    pub(crate) news: Vec<Entry>,
    /// For the sender.
    pub(crate) replies: Vec<Entry>,
    /// The client that the sender owns from now on.
    pub(crate) claimed: Option<u64>,
}

/// The consequences of the end of a connection.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Departure {
    /// For all who stay.
    pub(crate) news: Vec<Entry>,
    /// The room does not know the clock of a client, and asks those who stay for it: [`Presence::receive`] answers each of them.
    pub(crate) asks: bool,
}

impl Presence {
    /// Restores the owners after the room has lost its memory. `peers` is in the order in which they connected.
    pub(crate) fn restore(peers: impl IntoIterator<Item = (PeerId, Option<u64>)>, now_ms: u64) -> Self {
        // A client that has reconnected can have two connections, of which the earlier one is dead.
        let owned = peers.into_iter().filter_map(|(owner, client)| Some((client?, owner)));
        let clients = owned.map(|(client, owner)| (client, Known { owner, last: None, heard_ms: now_ms })).collect();
        Presence { clients, departed: VecDeque::new() }
    }

    /// Notes the states that a peer has sent. `bound` is the client that its connection had before, if any: a connection has one client
    /// for all its life.
    pub(crate) fn receive(&mut self, from: &PeerId, bound: Option<u64>, entries: Vec<Entry>, now_ms: u64) -> Outcome {
        let mut outcome = Outcome::default();
        for entry in entries {
            let may_claim = outcome.claimed.or(bound).is_none_or(|client| client == entry.client);
            // Copies of the states of others are no claims.
            let is_refused = !may_claim && !self.owns(from);
            match self.clients.get_mut(&entry.client) {
                Some(known) if known.owner == *from => {
                    if is_news(known.last.as_ref(), &entry) {
                        *known = Known { owner: from.clone(), last: Some(entry.clone()), heard_ms: now_ms };
                        outcome.news.push(entry);
                    }
                }
                Some(known) => {
                    // The client has a new connection, and the end of the old one is not noticed yet.
                    let is_silent = now_ms.saturating_sub(known.heard_ms) >= OUTDATED_MS;
                    let is_newer = known.last.as_ref().is_none_or(|last| last.clock < entry.clock);
                    if may_claim && is_silent && is_newer && entry.state.is_some() && !self.owns(from) {
                        self.claim(from, entry, now_ms, &mut outcome);
                    }
                }
                None if entry.state.is_none() => {}
                None if is_refused => {}
                None => {
                    let is_copy = self.owns(from);
                    let at = self.departed.iter().position(|departed| departed.client == entry.client);
                    let farewell = Entry { state: None, ..entry.clone() };
                    match at {
                        // A copy of the state of a client that has left.
                        Some(at) if is_copy => {
                            if self.departed[at].told.insert(from.clone()) {
                                outcome.replies.push(farewell);
                            }
                        }
                        // The client has reconnected. Others ignore a state with the clock of its farewell. A client that learns of
                        // its own farewell raises its clock and sends its state again.
                        Some(at) => {
                            self.departed.remove(at);
                            outcome.replies.push(farewell);
                            self.claim(from, entry, now_ms, &mut outcome);
                        }
                        None if is_copy => {}
                        None => self.claim(from, entry, now_ms, &mut outcome),
                    }
                }
            }
        }
        outcome
    }

    /// A connection has one client. So the states of others that a provider sends are copies, and never claims.
    fn owns(&self, peer: &PeerId) -> bool {
        let has_left = |last: &Entry| last.state.is_none();
        self.clients.values().any(|known| known.owner == *peer && !known.last.as_ref().is_some_and(has_left))
    }

    fn claim(&mut self, from: &PeerId, entry: Entry, now_ms: u64, outcome: &mut Outcome) {
        // The client that it had, if any, has left.
        self.clients.retain(|_, known| known.owner != *from);
        let known = Known { owner: from.clone(), last: Some(entry.clone()), heard_ms: now_ms };
        self.clients.insert(entry.client, known);
        outcome.claimed = Some(entry.client);
        outcome.news.push(entry);
    }

    /// Ends the presence of the client of a connection: of the one that is stored with it, or of one that could not be.
    pub(crate) fn depart(&mut self, peer: &PeerId, stored: Option<u64>) -> Departure {
        let mut departure = Departure::default();
        let owned = self.clients.iter().filter(|(_, known)| known.owner == *peer).map(|(client, _)| *client);
        let clients: BTreeSet<_> = owned.chain(stored).collect();
        for client in &clients {
            if self.departed.iter().any(|departed| departed.client == *client) {
                continue;
            }
            match self.clients.get(client) {
                // It has another connection.
                Some(known) if known.owner != *peer => continue,
                Some(Known { last: Some(last), .. }) => {
                    if last.state.is_some() {
                        departure.news.push(Entry { state: None, ..last.clone() });
                    }
                }
                Some(Known { last: None, .. }) | None => departure.asks = true,
            }
            self.clients.remove(client);
            self.departed.push_back(Departed { client: *client, told: BTreeSet::new() });
            if self.departed.len() > MAX_DEPARTED {
                self.departed.pop_front();
            }
        }
        departure
    }

    /// The states of all clients, for one who joins or asks.
    pub(crate) fn states(&self) -> Vec<Entry> {
        self.clients.values().filter_map(|known| known.last.clone()).filter(|last| last.state.is_some()).collect()
    }

    /// The peers that have to be asked for the states of their clients.
    pub(crate) fn unknown(&self) -> Vec<PeerId> {
        let mut peers: Vec<_> =
            self.clients.values().filter(|known| known.last.is_none()).map(|known| known.owner.clone()).collect();
        peers.sort();
        peers.dedup();
        peers
    }
}

/// The rule of y-protocols: a state is news with a higher clock, and a farewell also with the same one.
fn is_news(last: Option<&Entry>, entry: &Entry) -> bool {
    last.is_none_or(|last| {
        last.clock < entry.clock || (last.clock == entry.clock && entry.state.is_none() && last.state.is_some())
    })
}
