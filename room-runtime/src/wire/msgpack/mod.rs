//! MessagePack: the binary codec of rooms with `codec = "msgpack"`.
//!
//! The values have the same structure as in JSON, with three differences. A `Vec<u8>` is one `bin`, a map with integers as
//! keys has integers as keys, and each number keeps its type. Extension types are not used.
//!
//! An existing crate would not fit into two places. The check that a value reads back (`round_trip`) wraps every value,
//! which hides a `Vec<u8>` from an encoder. The reader of tagged enums (`tagged`) needs the key of the variant first, and
//! without a copy only the decoder can go back in its input.

mod decode;
mod encode;

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::json::round_trip::RoundTrip;
use crate::{Error, ErrorKind, Limits, types::brief::brief};

/// The reason why a value cannot be written or read as MessagePack.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault(message.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault(message.to_string())
    }
}

/// Encodes a message of the room. The same values are refused as in JSON, so that a message does not depend on the codec
/// of a peer.
pub(crate) fn encode_message<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, Error> {
    to_vec(message, Limits::MAX_DEPTH, "the message")
}

/// Encodes an event.
pub(crate) fn encode_event<T: Serialize>(event: &T) -> Result<Vec<u8>, Error> {
    to_vec(event, Limits::MAX_EVENT_DEPTH, "the event")
}

fn to_vec<T: Serialize + ?Sized>(value: &T, depth: u8, what: &str) -> Result<Vec<u8>, Error> {
    let mut encoder = encode::Encoder::default();
    match RoundTrip::within(value, depth).serialize(&mut encoder) {
        Ok(()) => Ok(encoder.out),
        Err(fault) => {
            Err(Error::new(ErrorKind::Encode, format!("{what} cannot be written as MessagePack: {}", brief(fault))))
        }
    }
}

/// Decodes an event.
pub(crate) fn decode_event<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    decode::from_slice(bytes, Limits::MAX_EVENT_DEPTH)
}

/// Decodes a message of the room.
pub(crate) fn decode_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    decode::from_slice(bytes, Limits::MAX_DEPTH)
}

/// Writes JSON of the runtime, such as an error frame, as MessagePack.
pub(crate) fn from_json(json: &str) -> Vec<u8> {
    let value = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
    // The runtime's own frames have strings, numbers and a few levels.
    encode_message(&value).unwrap_or_default()
}

/// Splits a list into its elements, which stay undecoded; `None` for another value.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn elements(list: &[u8]) -> Option<Vec<&[u8]>> {
    let (first, rest) = list.split_first()?;
    let (length, mut rest) = match first {
        0x90..=0x9f => (usize::from(first & 0xf), rest),
        0xdc => number(rest, 2)?,
        0xdd => number(rest, 4)?,
        _ => return None,
    };
    let mut elements = Vec::new();
    for _ in 0..length {
        let (element, left) = rest.split_at(value_length(rest)?);
        elements.push(element);
        rest = left;
    }
    rest.is_empty().then_some(elements)
}

#[cfg(not(target_arch = "wasm32"))]
fn number(bytes: &[u8], size: usize) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(size)?;
    Some((digits.iter().fold(0, |number, digit| (number << 8) | usize::from(*digit)), rest))
}

/// The length of the first value, in bytes.
#[cfg(not(target_arch = "wasm32"))]
fn value_length(bytes: &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first()?;
    // The values inside a value, and the bytes of its head and of its own content.
    let (inner, own) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 1),
        0x80..=0x8f => (2 * usize::from(first & 0xf), 1),
        0x90..=0x9f => (usize::from(first & 0xf), 1),
        0xa0..=0xbf => (0, 1 + usize::from(first & 0x1f)),
        0xc4 | 0xd9 => (0, 2 + number(rest, 1)?.0),
        0xc5 | 0xda => (0, 3 + number(rest, 2)?.0),
        0xc6 | 0xdb => (0, 5 + number(rest, 4)?.0),
        0xcc | 0xd0 => (0, 2),
        0xcd | 0xd1 => (0, 3),
        0xca | 0xce | 0xd2 => (0, 5),
        0xcb | 0xcf | 0xd3 => (0, 9),
        0xdc => (number(rest, 2)?.0, 3),
        0xdd => (number(rest, 4)?.0, 5),
        0xde => (2 * number(rest, 2)?.0, 3),
        0xdf => (2 * number(rest, 4)?.0, 5),
        _ => return None,
    };
    let mut at = own;
    for _ in 0..inner {
        at += value_length(bytes.get(at..)?)?;
    }
    (at <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests;
