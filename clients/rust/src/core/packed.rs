//! MessagePack: the frames around values that stay encoded.

use rmp_serde::config::BytesMode;
use serde::Serialize;

use super::wire::{RoomFrame, read_packed_control};
use crate::transport::Frame;

pub(super) const NIL: u8 = 0xc0;
pub(super) const EMPTY_MAP: u8 = 0x80;

/// Encodes a value as the room does: structs as maps, and a `Vec<u8>` as bytes.
pub(super) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_bytes(BytesMode::ForceIterables);
    value.serialize(&mut serializer)?;
    Ok(bytes)
}

pub(super) fn is_map(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf))
}

pub(super) fn join(number: u64, is_call: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 10);
    frame.push(if is_call { 0x93 } else { 0x92 });
    write_number(&mut frame, number);
    frame.extend_from_slice(body);
    frame
}

pub(super) fn settled(from: u64) -> Vec<u8> {
    let mut frame = b"\x81\xa4from".to_vec();
    write_number(&mut frame, from);
    frame
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    if let Ok(small @ 0..=0x7f) = u8::try_from(number) {
        out.push(small);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(0xcd);
        out.extend(number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(0xce);
        out.extend(number.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend(number.to_be_bytes());
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<RoomFrame, String> {
    let not_a_frame = || "not a frame of room.v1".to_owned();
    let parts = elements(bytes).ok_or_else(not_a_frame)?;
    let (controls, messages) = parts.split_first().ok_or_else(not_a_frame)?;
    let mut frame = RoomFrame::default();
    for control in elements(controls).ok_or_else(not_a_frame)? {
        match read_packed_control(control) {
            Ok(control) => frame.controls.push(control),
            Err(error) => frame.faults.push(format!("not a control of room.v1: {error}")),
        }
    }
    frame.messages.extend(messages.iter().map(|message| Frame::Binary(message.to_vec())));
    Ok(frame)
}

/// Splits a list into its elements, which stay encoded; `None` for another value.
fn elements(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let Head { own, inner } = head(bytes)?;
    matches!(bytes.first()?, 0x90..=0x9f | 0xdc | 0xdd).then(|| split(bytes.get(own..)?, inner))?
}

/// Splits a map with strings as keys; `None` for another value.
pub(super) fn entries(bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let Head { own, inner } = head(bytes)?;
    if !is_map(bytes) {
        return None;
    }
    let values = split(bytes.get(own..)?, inner)?;
    let pairs = values.chunks_exact(2).map(|pair| {
        let [key, value] = pair else { return None };
        let key = match key.first()? {
            0xa0..=0xbf => key.get(1..)?,
            0xd9 => key.get(2..)?,
            0xda => key.get(3..)?,
            0xdb => key.get(5..)?,
            _ => return None,
        };
        Some((std::str::from_utf8(key).ok()?, *value))
    });
    pairs.collect()
}

fn split(mut rest: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    for _ in 0..count {
        let (value, left) = rest.split_at_checked(value_length(rest)?)?;
        values.push(value);
        rest = left;
    }
    rest.is_empty().then_some(values)
}

/// The beginning of a value.
struct Head {
    /// The bytes of the head and of the value's own content.
    own: usize,
    /// The values inside.
    inner: usize,
}

fn head(bytes: &[u8]) -> Option<Head> {
    let (first, rest) = bytes.split_first()?;
    let number = |size: usize| {
        let digits = rest.get(..size)?;
        usize::try_from(digits.iter().fold(0_u64, |number, digit| (number << 8) | u64::from(*digit))).ok()
    };
    let flat = |own: usize| Some(Head { own, inner: 0 });
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => flat(1),
        0x80..=0x8f => Some(Head { own: 1, inner: 2 * usize::from(first & 0xf) }),
        0x90..=0x9f => Some(Head { own: 1, inner: usize::from(first & 0xf) }),
        0xa0..=0xbf => flat(1 + usize::from(first & 0x1f)),
        0xc4 | 0xd9 => flat(number(1)?.checked_add(2)?),
        0xc5 | 0xda => flat(number(2)?.checked_add(3)?),
        0xc6 | 0xdb => flat(number(4)?.checked_add(5)?),
        0xc7 => flat(number(1)?.checked_add(3)?),
        0xc8 => flat(number(2)?.checked_add(4)?),
        0xc9 => flat(number(4)?.checked_add(6)?),
        0xcc | 0xd0 => flat(2),
        0xcd | 0xd1 => flat(3),
        0xca | 0xce | 0xd2 => flat(5),
        0xcb | 0xcf | 0xd3 => flat(9),
        0xd4..=0xd8 => flat(2 + (1 << (first - 0xd4))),
        0xdc => Some(Head { own: 3, inner: number(2)? }),
        0xdd => Some(Head { own: 5, inner: number(4)? }),
        0xde => Some(Head { own: 3, inner: number(2)?.checked_mul(2)? }),
        0xdf => Some(Head { own: 5, inner: number(4)?.checked_mul(2)? }),
    }
}

/// The length of the first value, in bytes. It counts instead of descending, so that no depth overflows the stack.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut left) = (0_usize, 1_usize);
    while left > 0 {
        let Head { own, inner } = head(bytes.get(at..)?)?;
        at = at.checked_add(own)?;
        left = (left - 1).checked_add(inner)?;
    }
    (at <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_each_form_are_split() {
        let values: Vec<Vec<u8>> = vec![
            to_vec(&1_u8).expect("encodes"),
            to_vec(&u64::MAX).expect("encodes"),
            to_vec(&-1_i64).expect("encodes"),
            to_vec(&1.5_f64).expect("encodes"),
            to_vec("x".repeat(300).as_str()).expect("encodes"),
            to_vec(&vec![7_u8; 40]).expect("encodes"),
            to_vec(&vec![Some(vec!["a"; 20]); 20]).expect("encodes"),
            to_vec(&std::collections::BTreeMap::from([("k", vec![(); 3])])).expect("encodes"),
            vec![0xd6, 1, 2, 3, 4, 5],
            vec![0xc7, 2, 9, 1, 2],
        ];
        let mut list = vec![0xdc, 0, values.len() as u8];
        list.extend(values.concat());
        assert_eq!(elements(&list), Some(values.iter().map(Vec::as_slice).collect()));
        for end in 0..list.len() {
            assert_eq!(elements(&list[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_length_that_is_announced_and_does_not_follow_is_no_value() {
        for bytes in [&[0xdd, 255, 255, 255, 255][..], &[0xdf, 255, 255, 255, 255], &[0xc6, 255, 255, 255, 255, 1]] {
            assert_eq!(elements(bytes), None);
            assert_eq!(value_length(bytes), None);
        }
        assert_eq!(value_length(&[0x91; 100_000]), None);
    }

    #[test]
    fn numbers_are_those_of_rmp() {
        for number in [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 40] {
            let frame = join(number, false, &[NIL]);
            let read: (u64, ()) = rmp_serde::from_slice(&frame).expect("decodes");
            assert_eq!(read.0, number);
        }
    }
}
