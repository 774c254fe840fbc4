//! The sessions of clients of `room.v1`: their numbers, and the outcomes of their frames.
//!
//! A session is stored with its first number. The number is written without a wait after the last change of its handler, so
//! that both survive a crash or neither does. An outcome other than an acknowledgement is stored too, so that a session that
//! resumes gets the same one.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::{Rc, Weak},
};

use super::{RoomHost, Slot, fair_lock::FairLock};
use crate::{
    CloseCode, Error, ErrorKind, PeerId,
    engine::{replay::Missed, slot::Status},
    platform::*,
    wire::{self, Notice, ResumeOffer, WINDOW, Welcome, handshake::id_tag, keys},
};

/// The close reason of a connection whose client resumed its session on another one.
pub(super) const RESUMED: &str = "resumed by a new connection";

/// The largest outcome that a session keeps for each of its last numbers, in bytes. Of larger answers it keeps the last one.
const MAX_OUTCOME_BYTES: usize = 16_384;

/// The mark in place of a larger outcome.
const LARGE: &str = "large";

/// The hexadecimal digits of a token for the time at which it was made, in milliseconds, and then for the life of the room.
const TIME_DIGITS: usize = 11;
const LIFE_DIGITS: usize = 5;

/// A session of a client of `room.v1`, while a connection of it is in memory.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) token: String,
    /// The highest settled number; `None` until it is read.
    last: Cell<Option<u64>>,
    /// The highest number whose outcome is stored.
    told: Cell<u64>,
    /// True if the session is in storage.
    is_stored: Cell<bool>,
    /// The number that the room asked for last.
    asked: Cell<u64>,
    /// True if the room dropped a frame, because too many were waiting.
    has_dropped: Cell<bool>,
    /// Taken by the frame that is being handled. Without a grace, a session that resumes has a new peer, and the last
    /// handler of the old one may still run.
    pub(super) turn: FairLock,
    /// True if the client speaks MessagePack on its current connection.
    is_packed: Cell<bool>,
    /// The name of the place of its current peer.
    place: RefCell<String>,
    /// The outcomes that storage did not take, by their numbers. Without them a client that resumes would take a number that
    /// failed for one that was handled.
    unstored: RefCell<BTreeMap<u64, String>>,
}

impl Session {
    fn new(token: String) -> Rc<Self> {
        Rc::new(Session {
            token,
            last: Cell::new(None),
            told: Cell::new(0),
            is_stored: Cell::new(false),
            asked: Cell::new(0),
            has_dropped: Cell::new(false),
            turn: FairLock::default(),
            is_packed: Cell::new(false),
            place: RefCell::default(),
            unstored: RefCell::default(),
        })
    }

    /// Returns the number of a frame; 0 if it has none. A binary frame to a client that speaks JSON is one of the room's own
    /// protocol.
    pub(super) fn number_of(&self, frame: &OwnedFrame) -> u64 {
        match (frame, self.is_packed.get()) {
            (OwnedFrame::Text(_), false) | (OwnedFrame::Binary(_), true) => wire::number_of(frame),
            _ => 0,
        }
    }

    /// Records that a frame was dropped unhandled.
    pub(super) fn note_dropped(&self) {
        self.has_dropped.set(true);
    }
}

/// The sessions of a room.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The number of stored sessions; `None` until they are counted.
    count: Cell<Option<usize>>,
    /// `None` until it is read.
    memory: Cell<Option<Memory>>,
    /// The sessions in memory by their tokens. A handler of a closed connection can still run in one that resumes, so a
    /// token has one session.
    live: RefCell<HashMap<String, Weak<Session>>>,
}

/// The age of a room's memory of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    /// The time at which the oldest session began that the room cannot have forgotten.
    since_ms: u64,
    /// A random number of the room's life, which a purge ends. The tokens of its sessions contain it.
    life: u32,
}

impl Memory {
    fn encode(self) -> String {
        format!("{} {}", self.since_ms, self.life)
    }

    fn decode(stored: &[u8]) -> Option<Memory> {
        let (since, life) = str::from_utf8(stored).ok()?.split_once(' ')?;
        Some(Memory { since_ms: wire::parse_counted(since)?, life: life.parse().ok()? })
    }
}

impl Sessions {
    pub(super) fn clear(&self) {
        self.count.set(None);
        self.memory.set(None);
        self.live.borrow_mut().retain(|_, session| session.strong_count() > 0);
    }
}

/// A session in storage, as text: its fields in this order, separated by spaces. The id is the last, because it can
/// contain spaces.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    token: String,
    last: u64,
    told: u64,
    touched_ms: u64,
    /// The name of the place of its peer.
    place: String,
    id: PeerId,
}

impl Row {
    fn decode(stored: &[u8]) -> Option<Row> {
        let mut fields = str::from_utf8(stored).ok()?.splitn(6, ' ');
        let mut next = || fields.next();
        Some(Row {
            token: next()?.to_owned(),
            last: wire::parse_counted(next()?)?,
            told: wire::parse_counted(next()?)?,
            touched_ms: wire::parse_counted(next()?)?,
            place: next()?.to_owned(),
            id: PeerId::from(next()?),
        })
    }
}

/// The place of a number in the sequence of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequence {
    Next,
    /// It was settled before.
    Repeated,
    /// A frame before it is missing.
    Early,
}

fn session_key(token: &str) -> String {
    format!("{}{token}", keys::SESSIONS)
}

fn large_key(token: &str) -> String {
    format!("{}{token}:large", keys::OUTCOMES)
}

fn outcome_key(token: &str, number: u64) -> String {
    format!("{}{token}:{}", keys::OUTCOMES, number % WINDOW)
}

/// The room's knowledge of the session that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    No,
    /// It is the session of the peer's place.
    Here,
    /// Its place was another one, so it has no messages of this one.
    Elsewhere,
}

/// A session that a client resumes.
pub(super) struct Resumed {
    /// `None` for a session of which nothing is known but that no number was handled: it goes on under the token of its new
    /// place, so that the place is found again without a row in storage.
    pub(super) session: Option<Rc<Session>>,
    /// The peer whose connection the session had, if the room still has it.
    pub(super) old: Option<Rc<Slot>>,
}

impl RoomHost {
    // Storage.

    fn row(&self, token: &str) -> Result<Option<Row>, Error> {
        let stored = self.platform.get(&session_key(token)).map_err(|refusal| self.session_error("read", &refusal))?;
        let row = stored.as_deref().and_then(Row::decode);
        if stored.is_some() && row.is_none() {
            self.log_error(&format!(
                "room `{}`: a stored session is not readable; its client begins a new one",
                self.id
            ));
        }
        // A session that is too old may be deleted at any time, so it is always unknown.
        Ok(row.filter(|row| !self.is_expired(row)))
    }

    fn is_expired(&self, row: &Row) -> bool {
        self.platform.now_ms().saturating_sub(row.touched_ms) >= self.room.session_timeout_ms
    }

    fn session_error(&self, done: &str, refusal: &PlatformError) -> Error {
        Error::new(ErrorKind::Storage, format!("a session could not be {done}: {refusal}")).in_room(&self.id)
    }

    fn store_session(
        &self,
        slot: &Slot,
        session: &Session,
        number: u64,
        outcome: Option<&str>,
    ) -> Result<(), PlatformError> {
        let stored = self.try_store_session(slot, session, number, outcome);
        let mut unstored = session.unstored.borrow_mut();
        match (&stored, outcome) {
            (Ok(()), _) => unstored.clear(),
            (Err(_), Some(outcome)) => {
                unstored.retain(|other, _| other + WINDOW > number);
                unstored.insert(number, outcome.to_owned());
            }
            (Err(_), None) => {}
        }
        stored
    }

    fn try_store_session(
        &self,
        slot: &Slot,
        session: &Session,
        number: u64,
        outcome: Option<&str>,
    ) -> Result<(), PlatformError> {
        if !session.is_stored.get() {
            self.make_space_for_a_session()?;
            session.is_stored.set(true);
        }
        for (number, outcome) in &*session.unstored.borrow() {
            session.told.set(session.told.get().max(*number));
            self.store_outcome(session, *number, outcome)?;
        }
        if let Some(outcome) = outcome {
            session.told.set(number);
            self.store_outcome(session, number, outcome)?;
        }
        let Session { token, told, place, .. } = session;
        let (told, now_ms, place, id) = (told.get(), self.platform.now_ms(), place.borrow(), &slot.id);
        let row = format!("{token} {number} {told} {now_ms} {place} {id}");
        self.platform.put(&session_key(token), row.as_bytes())
    }

    fn store_outcome(&self, session: &Session, number: u64, outcome: &str) -> Result<(), PlatformError> {
        let mut kept = outcome;
        if outcome.len() > MAX_OUTCOME_BYTES {
            self.platform.put(&large_key(&session.token), format!("{number} {outcome}").as_bytes())?;
            kept = LARGE;
        }
        self.platform.put(&outcome_key(&session.token, number), format!("{number} {kept}").as_bytes())
    }

    /// Deletes the oldest sessions if there are as many as the room remembers.
    fn make_space_for_a_session(&self) -> Result<(), PlatformError> {
        let limit = self.room.limits.max_sessions;
        let count = match self.sessions.count.get() {
            Some(count) => count,
            None => self.platform.list(keys::SESSIONS)?.len(),
        };
        if count < limit {
            self.sessions.count.set(Some(count + 1));
            return Ok(());
        }
        let stored = self.platform.list(keys::SESSIONS)?;
        let mut rows: Vec<_> = stored.iter().filter_map(|bytes| Row::decode(bytes)).collect();
        rows.sort_by_key(|row| row.touched_ms);
        // Some more are deleted than necessary, so that not each new session reads all.
        let kept = limit - limit.div_ceil(16).min(limit);
        let surplus = rows.len().saturating_sub(kept);
        let gone = rows.iter().enumerate().filter(|(at, row)| *at < surplus || self.is_expired(row));
        let (mut left, mut latest_ms) = (rows.len(), 0);
        for (_, row) in gone {
            self.delete_session(&row.token, row.told)?;
            latest_ms = latest_ms.max(row.touched_ms);
            left -= 1;
        }
        let memory = self.memory_of_sessions()?;
        if latest_ms >= memory.since_ms {
            let memory = Memory { since_ms: latest_ms + 1, ..memory };
            self.platform.put(keys::SESSIONS_SINCE, memory.encode().as_bytes())?;
            self.sessions.memory.set(Some(memory));
        }
        self.sessions.count.set(Some(left + 1));
        Ok(())
    }

    fn delete_session(&self, token: &str, told: u64) -> Result<(), PlatformError> {
        self.platform.delete(&session_key(token))?;
        self.platform.delete(&large_key(token))?;
        let first = told.saturating_sub(WINDOW - 1).max(1);
        (first..=told).try_for_each(|number| self.platform.delete(&outcome_key(token, number)))
    }

    /// The age of the room's memory of sessions. It begins with the first session of a life.
    fn memory_of_sessions(&self) -> Result<Memory, PlatformError> {
        if let Some(memory) = self.sessions.memory.get() {
            return Ok(memory);
        }
        let stored = self.platform.get(keys::SESSIONS_SINCE)?.as_deref().and_then(Memory::decode);
        let memory = match stored {
            Some(memory) => memory,
            None => {
                let [a, b, c, ..] = self.platform.random();
                let life = u32::from_be_bytes([0, a, b, c]) & 0xf_ffff;
                let memory = Memory { since_ms: self.platform.now_ms(), life };
                self.platform.put(keys::SESSIONS_SINCE, memory.encode().as_bytes())?;
                memory
            }
        };
        self.sessions.memory.set(Some(memory));
        Ok(memory)
    }

    /// Returns whether the room would know a session with this token if any number of it had been handled.
    fn would_be_stored(&self, token: &str) -> Result<bool, Error> {
        let part = |from: usize, to: usize| token.get(from..to).and_then(|part| u64::from_str_radix(part, 16).ok());
        let (Some(begun_ms), Some(life)) = (part(0, TIME_DIGITS), part(TIME_DIGITS, TIME_DIGITS + LIFE_DIGITS)) else {
            return Ok(false);
        };
        let unread = |refusal| self.session_error("read", &refusal);
        // A stored session that is not readable has numbers that were handled.
        if self.platform.get(&session_key(token)).map_err(unread)?.is_some() {
            return Ok(false);
        }
        let memory = self.memory_of_sessions().map_err(unread)?;
        // A clock that was set back makes the time of a token one that is still to come.
        let age_ms = self.platform.now_ms().saturating_sub(begun_ms);
        let is_recent = age_ms < self.room.session_timeout_ms;
        Ok(life == u64::from(memory.life) && begun_ms >= memory.since_ms && is_recent)
    }

    /// Makes the token of a session, which is also the name of its first place.
    pub(super) fn new_token(&self) -> String {
        let memory = self.memory_of_sessions().unwrap_or_else(|refusal| {
            self.log_error(&self.session_error("stored", &refusal).to_string());
            Memory { since_ms: 0, life: 0 }
        });
        // A clock that was set back gives no session a time at which it could have been forgotten.
        self.secret_of(memory.life, self.platform.now_ms().max(memory.since_ms))
    }

    /// Makes an unguessable name: the time, the life of the room, and 64 random bits.
    pub(super) fn secret(&self, life: u32) -> String {
        self.secret_of(life, self.platform.now_ms())
    }

    fn secret_of(&self, life: u32, at_ms: u64) -> String {
        let [a, b, c, d, e, f, g, h, ..] = self.platform.random();
        let (at_ms, random) = (at_ms & 0xfff_ffff_ffff, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        format!("{at_ms:011x}{life:05x}{random:016x}")
    }

    // Numbers.

    /// The highest settled number of a session.
    fn last_number(&self, session: &Session) -> Result<u64, Error> {
        if let Some(last) = session.last.get() {
            return Ok(last);
        }
        let row = self.row(&session.token)?;
        session.is_stored.set(row.is_some());
        session.told.set(row.as_ref().map_or(0, |row| row.told));
        let last = row.map_or(0, |row| row.last);
        session.last.set(Some(last));
        Ok(last)
    }

    /// Returns the place of a number in the sequence of a session.
    pub(super) fn sequence_of(&self, session: &Session, number: u64) -> Result<Sequence, Error> {
        let last = self.last_number(session)?;
        Ok(match number {
            _ if number <= last => Sequence::Repeated,
            _ if number == last + 1 => Sequence::Next,
            _ => Sequence::Early,
        })
    }

    /// Takes every number below this one as settled.
    pub(super) fn settle_below(&self, session: &Session, number: u64) -> Result<(), Error> {
        let last = self.last_number(session)?;
        session.last.set(Some(last.max(number.saturating_sub(1))));
        Ok(())
    }

    /// Stores that a number is settled. `outcome` is its control, if it is more than an acknowledgement.
    ///
    /// It is called without a wait after the last change of the handler.
    pub(super) fn settle(&self, slot: &Slot, session: &Session, life: u64, number: u64, outcome: Option<&str>) {
        // A purge has ended the session with its room.
        if self.life.get() != life {
            return;
        }
        session.last.set(Some(number));
        if let Err(refusal) = self.store_session(slot, session, number, outcome) {
            // The client still gets the outcome: an error would be wrong about what is done.
            self.log_error(&self.session_error("stored", &refusal).to_string());
        }
    }

    /// Stores that a number failed, with the error that its sender gets.
    pub(super) fn settle_failed(&self, slot: &Slot, life: u64, number: u64, notice: Notice<'_>) {
        if let Some(session) = slot.session.borrow().clone().filter(|_| number > 0) {
            self.settle(slot, &session, life, number, Some(&notice.into_control(number)));
        }
    }

    /// Sends the outcome of a number that was settled before.
    pub(super) fn repeat_outcome(self: &Rc<Self>, slot: &Slot, session: &Session, number: u64) {
        match self.stored_outcome(session, number) {
            Ok(Some(outcome)) => self.send_control(slot, &outcome),
            Ok(None) => self.send_control(slot, &wire::ack_control(number)),
            // Without a number: the number is settled, and the client asks again.
            Err(error) => self.send_notice(Notice::error(error.kind(), error.message(), None), 0, slot),
        }
    }

    /// The outcome of a settled number; `None` for an acknowledgement.
    fn stored_outcome(&self, session: &Session, number: u64) -> Result<Option<String>, Error> {
        if let Some(outcome) = session.unstored.borrow().get(&number) {
            return Ok(Some(outcome.clone()));
        }
        // Most sessions have no outcome in storage.
        if session.told.get() < number {
            return Ok(None);
        }
        let read = |key: &str| self.platform.get(key).map_err(|refusal| self.session_error("read", &refusal));
        let numbered = |stored: Vec<u8>| {
            let (of, outcome) = str::from_utf8(&stored).ok()?.split_once(' ')?;
            // It becomes a part of a frame. Without it the number is acknowledged.
            let is_readable = outcome == LARGE || wire::is_json(outcome);
            (of.parse() == Ok(number) && is_readable).then(|| outcome.to_owned())
        };
        let outcome = read(&outcome_key(&session.token, number))?.and_then(numbered);
        if outcome.as_deref() != Some(LARGE) {
            return Ok(outcome);
        }
        let large = read(&large_key(&session.token))?.and_then(numbered);
        Ok(Some(large.unwrap_or_else(|| {
            let message = "the call was handled, and its answer was too large to be kept beside a later one";
            Notice::error(ErrorKind::ValueTooLarge, message, None).into_control(number)
        })))
    }

    /// Asks for the frames from the next number on, once for each gap.
    pub(super) fn ask_for_missing(self: &Rc<Self>, slot: &Slot, session: &Session) {
        let next = session.last.get().unwrap_or_default() + 1;
        if session.asked.replace(next) != next {
            self.send_control(slot, &wire::resend_control(next));
        }
    }

    /// Asks for dropped frames, once the frames before them are handled.
    pub(super) fn ask_for_dropped(self: &Rc<Self>, slot: &Slot) {
        if let Some(session) = &*slot.session.borrow()
            && slot.turn.queued() == 0
            && session.has_dropped.replace(false)
        {
            session.asked.set(0);
            self.ask_for_missing(slot, session);
        }
    }

    // Connections.

    /// Sends a control to a client of `room.v1`.
    ///
    /// In a room with batches it waits for the end of the batch, in order with the messages.
    pub(super) fn send_control(self: &Rc<Self>, slot: &Slot, control: &str) {
        let hold = self.room.batch_ms > 0;
        self.transmit_control(slot, control, hold);
        if hold {
            self.end_batch_later();
        }
    }

    fn transmit_control(&self, slot: &Slot, control: &str, hold: bool) {
        let socket = slot.socket.get();
        if slot.status.get() == Status::Gone || socket == NO_SOCKET {
            return;
        }
        match &self.room.packing {
            Some(packing) if self.platform.is_packed(socket) => {
                self.platform.control(socket, Frame::Packed(&(packing.convert_notice)(control)), hold);
            }
            _ => self.platform.control(socket, Frame::Text(control), hold),
        }
    }

    /// Sends a notice of the runtime: as a control, with the number of the frame that it answers, or as a frame of its
    /// own.
    pub(super) fn send_notice(self: &Rc<Self>, notice: Notice<'_>, number: u64, to: &Slot) {
        if to.session.borrow().is_some() {
            self.send_control(to, &notice.into_control(number));
        } else {
            self.send_plain_notice(&notice.into_frame(), to);
        }
    }

    /// The session with this token: the one in memory, or a new one that is read from storage at its first use.
    pub(super) fn session(&self, token: String) -> Rc<Session> {
        if let Some(known) = self.live_session(&token) {
            return known;
        }
        let mut live = self.sessions.live.borrow_mut();
        if live.len() == live.capacity() {
            live.retain(|_, session| session.strong_count() > 0);
        }
        let session = Session::new(token.clone());
        live.insert(token, Rc::downgrade(&session));
        session
    }

    /// The session with this token, if it is in memory.
    fn live_session(&self, token: &str) -> Option<Rc<Session>> {
        self.sessions.live.borrow().get(token).and_then(Weak::upgrade)
    }

    /// The session of a restored socket.
    pub(super) fn session_of(&self, socket: Socket, token: Option<String>, entry: &str) -> Option<Rc<Session>> {
        self.platform.is_v1(socket).then(|| {
            let session = self.session(token.unwrap_or_else(|| entry.to_owned()));
            session.is_packed.set(self.platform.is_packed(socket));
            session.place.replace(entry.to_owned());
            session
        })
    }

    /// The id, and the name of the place, of a session that a client offers to resume.
    pub(super) fn offered(&self, offer: Option<&ResumeOffer>) -> Option<(PeerId, String)> {
        let token = &offer?.token;
        let found = self.row(token).and_then(|row| match row {
            Some(row) => Ok(Some((row.id, row.place))),
            // A session without a number is not stored. Its place can be, under the name that it has in memory, or else the
            // first one.
            None => {
                let live = self.live_session(token).map(|session| session.place.borrow().clone());
                let place = live.filter(|place| self.has_place(place)).unwrap_or_else(|| token.clone());
                match self.has_place(&place) {
                    true => Ok(self.entry(&place)?.map(|entry| (entry.id, place))),
                    false => Ok(None),
                }
            }
        });
        match found {
            Ok(found) => found,
            Err(error) => {
                self.log_error(&error.to_string());
                None
            }
        }
    }

    /// Finds the session that a new peer resumes.
    pub(super) fn resume_session(&self, offer: &ResumeOffer, id: &PeerId) -> Result<Option<Resumed>, Error> {
        let row = self.row(&offer.token)?;
        let is_stored = row.is_some();
        let row = row.filter(|row| row.id == *id);
        let sockets = self.platform.open(Some(&id_tag(id.as_str())));
        let mut slots = sockets.into_iter().filter_map(|socket| self.slot_of(socket));
        let has_token =
            |slot: &Rc<Slot>| slot.session.borrow().as_ref().is_some_and(|session| session.token == offer.token);
        let old = slots.find(has_token);
        // A session that is not stored has no number, unless it was forgotten.
        let is_known = old.is_some() || row.is_some() || (!is_stored && self.would_be_stored(&offer.token)?);
        let session = match is_stored {
            true => Some(self.session(offer.token.clone())),
            false => self.live_session(&offer.token),
        };
        Ok(is_known.then_some(Resumed { session, old }))
    }

    /// Returns whether the room knows the session that a client offers for a place.
    pub(super) fn known_session(&self, offer: &ResumeOffer, slot: &Slot) -> Result<Known, Error> {
        let is_own = slot.session.borrow().as_ref().is_some_and(|session| session.token == offer.token);
        Ok(match self.row(&offer.token)? {
            Some(row) if row.id != slot.id => Known::No,
            Some(row) if is_own || row.place == slot.entry => Known::Here,
            Some(_) => Known::Elsewhere,
            // A session that is not stored has no number, unless it was forgotten.
            None if !self.would_be_stored(&offer.token)? => Known::No,
            None if is_own || offer.token == slot.entry => Known::Here,
            None => Known::Elsewhere,
        })
    }

    /// Stores the new place of a session that would not find it by its token alone.
    ///
    /// Another session without a number is not stored, so that a client cannot fill the storage with tokens.
    pub(super) fn move_session(&self, slot: &Slot, session: &Session) {
        session.place.replace(slot.entry.clone());
        match self.last_number(session) {
            Ok(_) if session.is_stored.get() || session.token != slot.entry => self.store_place(slot, session),
            Ok(_) => {}
            Err(error) => self.log_error(&error.to_string()),
        }
    }

    /// Gives a peer that takes its place again the session that its client offers; none to a plain client.
    pub(super) fn continue_session(&self, slot: &Slot, is_v1: bool, offer: Option<&ResumeOffer>) {
        let known = slot.session.take().filter(|known| offer.is_some_and(|offer| known.token == offer.token));
        let session = match (known, offer) {
            _ if !is_v1 => return,
            (Some(known), _) => known,
            (None, Some(offer)) => self.session(offer.token.clone()),
            (None, None) => {
                // The Worker's token named the place. Without a number, a session with a token of its own would not find
                // the place again, so it is stored.
                let session = self.session(self.new_token());
                session.last.set(Some(0));
                self.store_place(slot, &session);
                session
            }
        };
        slot.session.replace(Some(session));
    }

    /// Stores the place that a session has now.
    pub(super) fn store_place(&self, slot: &Slot, session: &Session) {
        session.place.replace(slot.entry.clone());
        let stored = self.last_number(session).map(|last| self.store_session(slot, session, last, None));
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => self.log_error(&self.session_error("stored", &refusal).to_string()),
            Err(error) => self.log_error(&error.to_string()),
        }
    }

    /// Closes the old connection of a session that has a new one.
    pub(super) fn close_resumed(self: &Rc<Self>, old: &Rc<Slot>) {
        self.force_close(old, CloseCode::RESTART, RESUMED);
    }

    /// Finds what a client has missed while it had no connection.
    fn missed_by(&self, slot: &Slot, offer: Option<&ResumeOffer>, known: Known) -> Missed {
        match (offer, &self.room.parts.replay) {
            (None, _) => Missed::Messages(Vec::new()),
            (Some(offer), Some(replay)) if known == Known::Here => (replay.missed)(self, slot, offer.at),
            (Some(_), _) => Missed::Gap,
        }
    }

    /// Sends the first controls of a connection: the welcome and, if the session is resumed, the outcomes that its client
    /// does not know.
    pub(super) fn welcome(self: &Rc<Self>, slot: &Slot, offer: Option<&ResumeOffer>, known: Known) {
        let is_resumed = known != Known::No;
        let Some(session) = slot.session.borrow().clone() else { return };
        session.is_packed.set(self.platform.is_packed(slot.socket.get()));
        session.place.replace(slot.entry.clone());
        let from = offer.map_or(0, |offer| offer.from);
        let settled = if is_resumed { self.settle_below(&session, from) } else { Ok(()) };
        let last = settled.and_then(|()| self.last_number(&session)).unwrap_or_else(|error| {
            // The client sends its frames again, and each is answered with this error.
            self.log_error(&error.to_string());
            0
        });
        session.asked.set(0);
        let missed = self.missed_by(slot, offer, known);
        let is_gap = matches!(missed, Missed::Gap);
        slot.has_gap.set(is_gap);
        let (ping, pong) = self.room.heartbeat;
        let timeout_ms = self.room.peer_timeout_ms;
        let welcome = Welcome {
            session: &session.token,
            resumed: is_resumed,
            last,
            window: WINDOW,
            gap: is_gap,
            at: self.room.parts.replay.as_ref().map(|replay| (replay.current)(self)),
            heartbeat: (ping, pong),
            timeout_ms: (timeout_ms > 0).then_some(timeout_ms),
        };
        self.transmit_control(slot, &welcome.into_control(), false);
        if let Missed::Messages(messages) = missed {
            self.send_missed(slot, &messages);
            // The messages for others that follow the last of its own need not be looked at again.
            if let (Some(offer), Some(replay)) = (offer, &self.room.parts.replay)
                && (replay.current)(self) > messages.last().map_or(offer.at, |(position, _)| *position)
            {
                self.send_control(slot, &wire::at_control((replay.current)(self)));
            }
        }
        if !is_resumed || last == 0 || from > last {
            return;
        }
        let oldest = last.saturating_sub(WINDOW - 1).max(1);
        for number in from.max(oldest)..=last {
            match self.stored_outcome(&session, number) {
                Ok(Some(outcome)) => self.send_control(slot, &outcome),
                Ok(None) => {}
                // The client sends it again, as it has no outcome.
                Err(error) => return self.log_error(&error.to_string()),
            }
        }
        self.send_control(slot, &wire::ack_control(last));
    }
}

/// The session of a slot; `None` for a plain client.
pub(crate) type SessionCell = RefCell<Option<Rc<Session>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_session_reads_back() {
        let row = Row {
            token: "0f".to_owned(),
            last: 7,
            told: 5,
            touched_ms: 9,
            place: "1e".to_owned(),
            id: PeerId::from("an id with spaces"),
        };
        let memory = Memory { since_ms: 7, life: 9 };
        assert_eq!(Memory::decode(memory.encode().as_bytes()), Some(memory));
        assert_eq!(Row::decode(b"0f 7 5 9 1e an id with spaces"), Some(row));
        for broken in [&b""[..], b"0f", b"0f x 5 9 1e a", b"0f 7 5 9 1e", b"0f 18446744073709551615 5 9 1e a", b"\xff"]
        {
            assert_eq!(Row::decode(broken), None, "{broken:?}");
        }
    }
}
