//! Checks the structure of an update before `yrs` reads it.
//!
//! An update is from anyone. `yrs` reserves memory for the counts in it, follows the nesting of shared types without a bound and keeps
//! some of its texts unread; a Yjs client throws at some of them. After this check a count cannot exceed its bytes, shared types are
//! not nested, the nesting of values is bounded, texts are UTF-8 or JSON where they have to be, and only content is left that clients
//! of today send. `yrs` then decides whether the content makes sense.

use crate::wire::{Malformed, Reader, check_json};

/// The deepest nesting of a value in an update.
const MAX_DEPTH: usize = 64;

// The kinds of blocks and of their content, in the low five bits of a block's first byte.
const GC: u8 = 0;
const DELETED: u8 = 1;
const BINARY: u8 = 3;
const STRING: u8 = 4;
const EMBED: u8 = 5;
const FORMAT: u8 = 6;
const ANY: u8 = 8;
const SKIP: u8 = 10;

const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;

/// Checks an update in the first version of the encoding, which the provider of y-websocket uses. Returns the number of its blocks.
pub(crate) fn check(update: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader(update);
    let mut count = 0;
    // A list of blocks has at least its length, its client and its clock.
    for _ in 0..reader.count(3)? {
        count += blocks(&mut reader)?;
    }
    for _ in 0..reader.count(2)? {
        let _client = reader.number()?;
        for _ in 0..reader.count(2)? {
            let (clock, length) = (reader.clock()?, reader.clock()?);
            advance(clock, length)?;
        }
    }
    reader.end()?;
    Ok(count)
}

fn blocks(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let count = reader.number()?;
    let _client = reader.number()?;
    let mut clock = reader.clock()?;
    // A block has at least its first byte and its length.
    if count > reader.0.len() as u64 / 2 {
        return Err(Malformed("a list is longer than its message"));
    }
    for _ in 0..count {
        clock = advance(clock, block(reader)?)?;
    }
    Ok(count as usize)
}

fn advance(clock: u32, length: u32) -> Result<u32, Malformed> {
    if length == 0 {
        return Err(Malformed("a block is empty"));
    }
    clock.checked_add(length).ok_or(Malformed("a clock is too large"))
}

/// Reads a block and returns its length.
fn block(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let info = reader.byte()?;
    let kind = info & 0x1f;
    if kind == GC || kind == SKIP {
        return if info == kind { reader.clock() } else { Err(Malformed("a block is of no known kind")) };
    }
    for origin in [HAS_ORIGIN, HAS_RIGHT_ORIGIN] {
        if info & origin != 0 {
            id(reader)?;
        }
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        match reader.number()? {
            1 => drop(reader.text()?),
            0 => id(reader)?,
            _ => return Err(Malformed("a block has no parent")),
        }
        if info & HAS_PARENT_SUB != 0 {
            reader.text()?;
        }
    }
    content(reader, kind)
}

fn id(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.number()?;
    reader.clock()?;
    Ok(())
}

fn content(reader: &mut Reader<'_>, kind: u8) -> Result<u32, Malformed> {
    match kind {
        DELETED => return reader.clock(),
        // JavaScript counts a text in units of UTF-16, and a frame has far less than 2^32 of them.
        STRING => return Ok(reader.text()?.encode_utf16().count() as u32),
        ANY => {
            let count = reader.count(1)?;
            for _ in 0..count {
                value(reader, MAX_DEPTH)?;
            }
            return Ok(count as u32);
        }
        BINARY => drop(reader.bytes()?),
        EMBED => check_json(reader.text()?)?,
        FORMAT => {
            reader.text()?;
            check_json(reader.text()?)?;
        }
        // Shared types and documents inside others: `yrs` follows their nesting without a bound.
        _ => return Err(Malformed("this room does not keep content of this kind")),
    }
    Ok(1)
}

fn value(reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    let deeper = || depth.checked_sub(1).ok_or(Malformed("a value is nested too deeply"));
    match reader.byte()? {
        // `undefined`, `null` and the two booleans.
        127 | 126 | 121 | 120 => {}
        125 => signed(reader)?,
        124 => drop(reader.take(4)?),
        123 | 122 => drop(reader.take(8)?),
        119 => drop(reader.text()?),
        118 => {
            let depth = deeper()?;
            for _ in 0..reader.count(2)? {
                reader.text()?;
                value(reader, depth)?;
            }
        }
        117 => {
            let depth = deeper()?;
            for _ in 0..reader.count(1)? {
                value(reader, depth)?;
            }
        }
        116 => drop(reader.bytes()?),
        _ => return Err(Malformed("a value is of no known type")),
    }
    Ok(())
}

/// An integer with a sign, of at most 53 bits.
fn signed(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    // The first byte has six bits, each further one seven.
    for _ in 0..8 {
        if reader.byte()? < 0x80 {
            return Ok(());
        }
    }
    Err(Malformed("a number is too large"))
}
