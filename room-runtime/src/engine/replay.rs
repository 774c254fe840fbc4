//! The log of a room with `replay`: what was sent, to whom, and what a client that resumes has missed.
//!
//! Each message to peers has a position, which rises. Clients of `room.v1` get it with the message, and give back the last
//! one that they have when they resume. A place begins at a position of its own, which is also its name in the log. So what
//! was sent before is not for it, and a list of receivers takes few bytes.
//!
//! An entry is stored before its message is sent. It has the position of the entry before it, so the oldest entry tells
//! what was dropped before it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use super::{
    RoomHost,
    reconnect::may_come_back,
    selection::Selection,
    slot::{Slot, Status},
    topics::{carries, is_subscribed},
};
use crate::{
    Error, ErrorKind,
    platform::*,
    wire::{self, keys},
};

/// The entries that are read at a time.
const CHUNK: u32 = 128;

/// The largest message that is logged, in bytes of JSON: what one key holds, without the receivers and the numbers.
const MAX_LOGGED_BYTES: usize = MAX_VALUE_BYTES - 262_144;

/// The most bytes of the names of receivers with one message. Beyond it the message counts as dropped.
const MAX_AUDIENCE_BYTES: usize = 131_072;

/// The part of the engine for rooms with `replay`.
pub(crate) struct Replay {
    /// Logs a message. Returns its position; 0 if nobody gets it.
    pub(super) record: fn(&RoomHost, &Whom<'_>, &str) -> Result<u64, Error>,
    /// Returns the position at which a new place begins.
    pub(super) begin: fn(&RoomHost) -> Result<u64, Error>,
    /// Returns what a client has missed that has received everything up to a position.
    pub(super) missed: fn(&RoomHost, &Slot, u64) -> Missed,
    /// The position of the last message or place.
    pub(super) current: fn(&RoomHost) -> u64,
    /// Returns whether a message to a peer without a connection is kept for it.
    pub(super) keeps: fn(&Slot) -> bool,
    pub(super) clear: fn(&Log),
}

impl Replay {
    pub(super) const PART: Replay = Replay {
        record: RoomHost::record,
        begin: RoomHost::begin_place,
        missed: RoomHost::find_missed,
        current: |host| host.position().unwrap_or_default(),
        keeps: |slot| slot.begun.get() > 0 && keeps_place(slot),
        clear: Log::clear,
    };
}

/// The receivers of a message.
pub(crate) enum Whom<'a> {
    Everyone,
    Peer(&'a Slot),
    /// A selection by tags only, and exceptions.
    Tagged(&'a Selection),
    /// Any other selection: the sockets that were found, and the filter for peers without a connection.
    Found(&'a Selection, &'a [Socket], &'a dyn Fn(&Rc<Slot>) -> bool),
}

/// The messages that a client has missed.
pub(super) enum Missed {
    /// These, each with its position, in the codec of the client.
    Messages(Vec<(u64, OwnedFrame)>),
    /// Some are not in the log any more.
    Gap,
}

/// The part of the log that is in memory.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The last position that was given; 0 if it was not read.
    position: Cell<u64>,
    /// The first and the last entry; `None` if they were not read.
    ends: RefCell<Option<Ends>>,
}

impl Log {
    fn clear(&self) {
        self.position.set(0);
        self.ends.take();
    }
}

/// The first and the last entry of a log that has any.
#[derive(Clone, Debug, Default)]
struct Ends {
    readable: Option<(Head, Head)>,
    /// The number of entries after the last one that are not readable.
    unreadable: u64,
}

/// The numbers of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    position: u64,
    /// The position of the entry before it; 0 for the first of all.
    before: u64,
    /// The number of this entry, from 1.
    number: u64,
    /// The bytes of all entries up to this one.
    total: u64,
    bytes: u64,
    at_ms: u64,
}

/// An entry in storage: its numbers, the length of the receivers, the receivers as JSON, and the message as JSON. A message that
/// was too large to be kept is empty.
#[derive(Debug)]
struct Entry<'a> {
    head: Head,
    to: &'a str,
    message: &'a str,
}

impl<'a> Entry<'a> {
    fn encode(&self) -> String {
        let Head { position, before, number, total, bytes, at_ms } = self.head;
        let Entry { to, message, .. } = self;
        format!("{position} {before} {number} {total} {bytes} {at_ms} {} {to}{message}", to.len())
    }

    fn decode(stored: &'a [u8]) -> Option<Self> {
        let mut fields = str::from_utf8(stored).ok()?.splitn(8, ' ');
        let mut next = || wire::parse_counted(fields.next()?);
        let (position, before, number, total, bytes, at_ms) = (next()?, next()?, next()?, next()?, next()?, next()?);
        let length = next()?;
        let (to, message) = fields.next()?.split_at_checked(usize::try_from(length).ok()?)?;
        Some(Entry { head: Head { position, before, number, total, bytes, at_ms }, to, message })
    }
}

/// The receivers of an entry. Those that joined later are none of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Receivers {
    /// These places, each by the position at which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<Vec<u64>>,
    /// The tags that a peer must all have, in the form that the platform stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    all: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    any: Vec<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<u64>,
}

impl Receivers {
    fn include(&self, host: &RoomHost, slot: &Slot) -> bool {
        let begun = slot.begun.get();
        let has = |tag: &String| carries(host, slot, tag);
        self.only.as_ref().is_none_or(|only| only.contains(&begun))
            && !self.except.contains(&begun)
            && self.all.iter().all(has)
            && self.any.iter().all(|group| group.iter().any(has))
    }
}

fn key(position: u64) -> String {
    format!("{}{position:016x}", keys::LOG)
}

/// Returns whether a peer without an open connection can come back to its place.
fn keeps_place(slot: &Slot) -> bool {
    match slot.status.get() {
        Status::Away => !slot.is_final.get(),
        // The room has not handled, or not even noticed, the loss of the connection.
        Status::Connected => !slot.is_final.get() && slot.ended.borrow().as_ref().is_none_or(|_| may_come_back(slot)),
        Status::Connecting | Status::Gone => false,
    }
}

fn begun(slots: &[Rc<Slot>]) -> Vec<u64> {
    slots.iter().map(|slot| slot.begun.get()).filter(|begun| *begun > 0).collect()
}

impl RoomHost {
    fn log_error_of(&self, done: &str, refusal: &PlatformError) -> Error {
        let message = format!("the room's log of messages could not be {done}: {refusal}");
        Error::new(ErrorKind::Storage, message).in_room(&self.id)
    }

    // Positions.

    fn ends(&self) -> Result<Ends, Error> {
        if let Some(ends) = &*self.log.ends.borrow() {
            return Ok(ends.clone());
        }
        let scan = |reverse, limit| {
            let found = self.platform.scan(keys::LOG, None, reverse, limit);
            found.map_err(|refusal| self.log_error_of("read", &refusal))
        };
        // The first readable entry from an end, and the number of entries before it.
        let read = |reverse| {
            let head = |stored: &Vec<u8>| Entry::decode(stored).map(|entry| entry.head);
            let mut found = scan(reverse, 1)?;
            if found.first().is_some_and(|stored| head(stored).is_none()) {
                found = scan(reverse, CHUNK)?;
            }
            let heads = found.iter().map(head);
            let unreadable = heads.clone().take_while(Option::is_none).count();
            Ok::<_, Error>((heads.flatten().next(), unreadable as u64))
        };
        let ((first, _), (last, unreadable)) = (read(false)?, read(true)?);
        let ends = Ends { readable: first.zip(last), unreadable };
        self.log.ends.replace(Some(ends.clone()));
        Ok(ends)
    }

    /// The last position that was given.
    fn position(&self) -> Result<u64, Error> {
        let known = self.log.position.get();
        if known > 0 {
            return Ok(known);
        }
        let stored = self.platform.get(keys::LOG_POSITION).map_err(|refusal| self.log_error_of("read", &refusal))?;
        let stored = stored.and_then(|bytes| wire::parse_counted(str::from_utf8(&bytes).ok()?)).unwrap_or(0);
        let Ends { readable, unreadable } = self.ends()?;
        // An entry that is not readable has a position too, which no other message may get.
        let position = readable.map_or(stored, |(_, last)| stored.max(last.position)) + unreadable;
        self.log.position.set(position);
        Ok(position)
    }

    fn begin_place(&self) -> Result<u64, Error> {
        let position = self.position()? + 1;
        let stored = self.platform.put(keys::LOG_POSITION, position.to_string().as_bytes());
        stored.map_err(|refusal| self.log_error_of("written", &refusal))?;
        self.log.position.set(position);
        Ok(position)
    }

    // Messages.

    fn record(&self, whom: &Whom<'_>, message: &str) -> Result<u64, Error> {
        let Some(receivers) = self.receivers(whom)? else { return Ok(0) };
        // Lists of numbers and tags are always serializable.
        let mut to = serde_json::to_string(&receivers).unwrap_or_default();
        let mut kept = message;
        let limit = self.room.replay.bytes as usize;
        if message.len() > limit.min(MAX_LOGGED_BYTES) || to.len() > MAX_AUDIENCE_BYTES {
            // A client that misses it learns of a gap.
            kept = "";
            if to.len() > MAX_AUDIENCE_BYTES {
                to = "{}".to_owned();
            }
        }
        let position = self.position()? + 1;
        let ends = self.ends()?.readable;
        let bytes = (to.len() + kept.len()) as u64;
        let (before, number, total) =
            ends.map_or((0, 1, bytes), |(_, last)| (last.position, last.number + 1, last.total + bytes));
        let head = Head { position, before, number, total, bytes, at_ms: self.platform.now_ms() };
        let entry = Entry { head, to: &to, message: kept }.encode();
        self.platform
            .put(&key(position), entry.as_bytes())
            .map_err(|refusal| self.log_error_of("written", &refusal))?;
        self.log.position.set(position);
        let first = ends.map_or(head, |(first, _)| first);
        self.log.ends.replace(Some(Ends { readable: Some((first, head)), unreadable: 0 }));
        if let Err(error) = self.trim(first, head) {
            self.log_error(&error.to_string());
        }
        Ok(position)
    }

    /// Deletes entries beyond the bounds. The last entry stays, because its numbers continue.
    fn trim(&self, first: Head, last: Head) -> Result<(), Error> {
        let bounds = self.room.replay;
        let now_ms = self.platform.now_ms();
        let is_beyond = |head: &Head| {
            last.number.saturating_sub(head.number) >= u64::from(bounds.messages)
                || last.total.saturating_sub(head.total) + head.bytes > u64::from(bounds.bytes)
                || now_ms.saturating_sub(head.at_ms) >= bounds.age_ms
        };
        // Several are deleted at a time, so that not each message reads the oldest entry.
        let slack = u64::from(bounds.messages / 8).min(64);
        let is_full = last.number.saturating_sub(first.number) >= u64::from(bounds.messages) + slack;
        let is_large = last.total.saturating_sub(first.total) + first.bytes
            > u64::from(bounds.bytes) + u64::from(bounds.bytes / 8);
        let is_old = now_ms.saturating_sub(first.at_ms) >= bounds.age_ms.saturating_add(bounds.age_ms / 8);
        if !(is_full || is_large || is_old) {
            return Ok(());
        }
        // After an error in between, the ends are read again.
        self.log.ends.take();
        let (mut kept, mut gone) = (last, 0);
        'read: loop {
            let before = gone;
            let found = self.platform.scan(keys::LOG, None, false, CHUNK);
            let found = found.map_err(|refusal| self.log_error_of("read", &refusal))?;
            for stored in &found {
                // One that is not readable stays: its key is not known. Whoever reads it gets a gap.
                let Some(Entry { head, .. }) = Entry::decode(stored) else { continue };
                if head.position == last.position || !is_beyond(&head) {
                    kept = head;
                    break 'read;
                }
                // An entry under the key of another position would be found again for ever.
                if head.position <= gone {
                    return Ok(());
                }
                gone = head.position;
                let deleted = self.platform.delete(&key(head.position));
                deleted.map_err(|refusal| self.log_error_of("written", &refusal))?;
            }
            if found.len() < CHUNK as usize || gone == before {
                break;
            }
        }
        self.log.ends.replace(Some(Ends { readable: Some((kept, last)), unreadable: 0 }));
        Ok(())
    }

    /// The receivers of a message; `None` if there is none.
    fn receivers(&self, whom: &Whom<'_>) -> Result<Option<Receivers>, Error> {
        Ok(match whom {
            Whom::Peer(slot) => match slot.begun.get() {
                0 => None,
                begun => Some(Receivers { only: Some(vec![begun]), ..Receivers::default() }),
            },
            Whom::Everyone => self.is_anyone_here()?.then(Receivers::default),
            Whom::Tagged(selection) => self.is_anyone_here()?.then(|| Receivers {
                only: None,
                all: selection.all.clone(),
                any: selection.any.clone(),
                except: begun(&selection.except),
            }),
            Whom::Found(selection, sockets, keep) => {
                let mut only = begun(&sockets.iter().filter_map(|socket| self.slot_of(*socket)).collect::<Vec<_>>());
                let mut away = self.without_connection()?;
                away.retain(|slot| self.selects(selection, slot) && !only.contains(&slot.begun.get()) && keep(slot));
                only.extend(begun(&away));
                (!only.is_empty()).then(|| Receivers { only: Some(only), ..Receivers::default() })
            }
        })
    }

    fn is_anyone_here(&self) -> Result<bool, Error> {
        // A peer whose socket is closing can come back.
        Ok(self.platform.has_sockets() || self.count_kept()? > 0)
    }

    /// The peers that have a place and no open connection.
    fn without_connection(&self) -> Result<Vec<Rc<Slot>>, Error> {
        let mut found: Vec<_> = self.departing.borrow().values().filter(|slot| keeps_place(slot)).cloned().collect();
        // The end of their connections has not arrived here yet.
        let is_cut = |slot: &&Rc<Slot>| {
            slot.status.get() == Status::Connected && keeps_place(slot) && !self.platform.is_open(slot.socket.get())
        };
        found.extend(self.slots.borrow().iter().flatten().filter(is_cut).cloned());
        for name in self.schedules.grace_names(self.platform.as_ref())? {
            if found.iter().all(|slot| slot.entry != name)
                && let Some(entry) = self.entry(&name)?.filter(|entry| entry.away.is_some())
            {
                match self.restore_entry(entry) {
                    Ok(slot) => found.push(slot),
                    Err(error) => self.log_error(&error.to_string()),
                }
            }
        }
        Ok(found)
    }

    /// Returns whether a selection has a peer without a connection, apart from its filters.
    fn selects(&self, selection: &Selection, slot: &Rc<Slot>) -> bool {
        let begun = slot.begun.get();
        let has = |tag: &String| carries(self, slot, tag);
        let is_in = |slots: &[Rc<Slot>]| slots.iter().any(|other| other.begun.get() == begun);
        selection.only.as_ref().is_none_or(|only| is_in(only))
            && !is_in(&selection.except)
            && selection.all.iter().all(has)
            && selection.any.iter().all(|group| group.iter().any(has))
            && selection
                .topics
                .as_ref()
                .is_none_or(|topics| topics.names().iter().all(|topic| is_subscribed(slot, topic)))
    }

    // Resuming.

    fn find_missed(&self, slot: &Slot, at: u64) -> Missed {
        self.read_missed(slot, at).unwrap_or_else(|error| {
            self.log_error(&error.to_string());
            Missed::Gap
        })
    }

    fn read_missed(&self, slot: &Slot, at: u64) -> Result<Missed, Error> {
        // The client was at an earlier place, or has a position that this room never gave.
        if at < slot.begun.get() || at > self.position()? {
            return Ok(Missed::Gap);
        }
        let Ends { readable, unreadable } = self.ends()?;
        if unreadable > 0 && at < self.position()? {
            return Ok(Missed::Gap);
        }
        let Some((first, last)) = readable else { return Ok(Missed::Messages(Vec::new())) };
        if at < first.before {
            return Ok(Missed::Gap);
        }
        let now_ms = self.platform.now_ms();
        let packing = self.room.packing.as_ref().filter(|_| self.platform.is_packed(slot.socket.get()));
        let (mut messages, mut next) = (Vec::new(), at + 1);
        while next <= last.position {
            let found = self.platform.scan(keys::LOG, Some(&key(next)), false, CHUNK);
            let found = found.map_err(|refusal| self.log_error_of("read", &refusal))?;
            for stored in &found {
                let Some(Entry { head, to, message }) = Entry::decode(stored) else { return Ok(Missed::Gap) };
                let Ok(receivers) = serde_json::from_str::<Receivers>(to) else { return Ok(Missed::Gap) };
                // An entry under the key of another position would be read for ever.
                if head.position < next {
                    return Ok(Missed::Gap);
                }
                next = head.position + 1;
                if !receivers.include(self, slot) {
                    continue;
                }
                let is_old = now_ms.saturating_sub(head.at_ms) >= self.room.replay.age_ms;
                if is_old || !wire::is_json(message) {
                    return Ok(Missed::Gap);
                }
                let frame = match packing {
                    None => OwnedFrame::Text(message.to_owned()),
                    // Code of an earlier deploy may have logged a message that this code cannot read.
                    Some(packing) => OwnedFrame::Binary((packing.convert)(message)?),
                };
                messages.push((head.position, frame));
            }
            if found.len() < CHUNK as usize {
                break;
            }
        }
        Ok(Missed::Messages(messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back() {
        let head = Head { position: 7, before: 5, number: 3, total: 90, bytes: 30, at_ms: 9 };
        let entry = Entry { head, to: r#"{"all":["t:a b"]}"#, message: r#"{"text":"a b"}"# }.encode();
        let read = Entry::decode(entry.as_bytes()).expect("an entry");
        assert_eq!((read.head, read.to, read.message), (head, r#"{"all":["t:a b"]}"#, r#"{"text":"a b"}"#));
        for broken in [&b""[..], b"7 5 3 90 30 9 99 {}", b"7 5 3 90 30 9 x {}", b"7 5 3", b"\xff"] {
            assert!(Entry::decode(broken).is_none(), "{broken:?}");
        }
    }
}
