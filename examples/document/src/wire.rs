//! The messages of the y-websocket protocol, in the encoding of lib0.
//!
//! The crate `yrs` has these messages too. They are read here, because what arrives is from anyone, and may be anything: no length
//! is believed before it is compared with the bytes that are there, and no number is passed on that a client could not read.

use std::sync::Arc;

/// The highest integer that JavaScript represents exactly. A Yjs client throws at a larger one.
pub(crate) const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;

const STEP_1: u64 = 0;
const STEP_2: u64 = 1;
const UPDATE: u64 = 2;

/// Bytes that are not what the protocol says, as the reason that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Message<'a> {
    /// The client's state vector, to be answered with what it lacks.
    Step1(&'a [u8]),
    /// The updates that the room lacks: the answer to its state vector.
    Step2(&'a [u8]),
    /// An edit.
    Update(&'a [u8]),
    Awareness(Vec<Entry>),
    /// To be answered with the states of all clients.
    QueryAwareness,
}

/// The state of one client of a document: its user's name and cursor, for example. A connection has one client, as a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) client: u64,
    pub(crate) clock: u64,
    /// JSON; `None` if the client has left.
    pub(crate) state: Option<Arc<str>>,
}

/// Reads the messages of a frame. A provider sends one in each; a frame can have several.
/// The most messages in one frame. A provider sends one; each can be answered, so that a large frame of small messages would be
/// many times as much work.
const MAX_MESSAGES: usize = 8;

pub(crate) fn read(frame: &[u8]) -> Result<Vec<Message<'_>>, Malformed> {
    let mut reader = Reader(frame);
    let mut messages = Vec::new();
    loop {
        if messages.len() == MAX_MESSAGES {
            return Err(Malformed("a frame has more than 8 messages"));
        }
        messages.push(message(&mut reader)?);
        if reader.0.is_empty() {
            return Ok(messages);
        }
    }
}

fn message<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, Malformed> {
    match reader.number()? {
        SYNC => match reader.number()? {
            STEP_1 => {
                let vector = reader.bytes()?;
                check_state_vector(vector)?;
                Ok(Message::Step1(vector))
            }
            STEP_2 => Ok(Message::Step2(reader.bytes()?)),
            UPDATE => Ok(Message::Update(reader.bytes()?)),
            _ => Err(Malformed("this is no step of the sync protocol")),
        },
        AWARENESS => Ok(Message::Awareness(entries(reader.bytes()?)?)),
        AUTH => Err(Malformed("a client sends no auth message")),
        QUERY_AWARENESS => Ok(Message::QueryAwareness),
        _ => Err(Malformed("this type of message is unknown")),
    }
}

/// Checks that a state vector has as many entries as it says, and no more.
fn check_state_vector(vector: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader(vector);
    for _ in 0..reader.count(2)? {
        reader.number()?;
        reader.clock()?;
    }
    reader.end()
}

fn entries(update: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader(update);
    let mut entries = Vec::new();
    for _ in 0..reader.count(3)? {
        let (client, clock, state) = (reader.number()?, reader.number()?, reader.text()?);
        // Each client parses what it gets, so one that is no JSON would stop all of them.
        check_json(state)?;
        let state = (state != "null").then(|| state.into());
        entries.push(Entry { client, clock, state });
    }
    reader.end()?;
    Ok(entries)
}

pub(crate) fn check_json(text: &str) -> Result<(), Malformed> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|_| Malformed("this is not JSON"))
}

/// Reads the encoding of lib0.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("the message ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("the message ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of variable length, up to [`MAX_SAFE_INTEGER`].
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..=49).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if number <= MAX_SAFE_INTEGER { Ok(number) } else { Err(Malformed("a number is too large")) };
            }
        }
        Err(Malformed("a number is too large"))
    }

    /// A number of variable length that `yrs` keeps in 32 bits.
    pub(crate) fn clock(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a clock is too large"))
    }

    /// The number of items that follow. Each has at least so many bytes, so no count promises more than there is.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed("a list is longer than its message"))?;
        if count > self.0.len() / least_bytes {
            return Err(Malformed("a list is longer than its message"));
        }
        Ok(count)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| Malformed("the message ends too early"))?)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes follow the end of the message")) }
    }
}

/// The room's state vector: the client answers with what the room lacks.
pub(crate) fn step_1(state_vector: &[u8]) -> Vec<u8> {
    sync(STEP_1, state_vector)
}

/// The updates that the client lacks. With them the client is synced.
pub(crate) fn step_2(update: &[u8]) -> Vec<u8> {
    sync(STEP_2, update)
}

pub(crate) fn update(update: &[u8]) -> Vec<u8> {
    sync(UPDATE, update)
}

pub(crate) fn query_awareness() -> Vec<u8> {
    vec![QUERY_AWARENESS as u8]
}

pub(crate) fn awareness<'a>(entries: impl ExactSizeIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut update = Vec::new();
    write_number(&mut update, entries.len() as u64);
    for entry in entries {
        write_number(&mut update, entry.client);
        write_number(&mut update, entry.clock);
        write_bytes(&mut update, entry.state.as_deref().unwrap_or("null").as_bytes());
    }
    let mut message = Vec::with_capacity(update.len() + 6);
    write_number(&mut message, AWARENESS);
    write_bytes(&mut message, &update);
    message
}

fn sync(step: u64, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(payload.len() + 7);
    write_number(&mut message, SYNC);
    write_number(&mut message, step);
    write_bytes(&mut message, payload);
    message
}

fn write_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn write_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    write_number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}
