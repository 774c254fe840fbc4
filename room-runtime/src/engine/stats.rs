//! Counts what happens in a room, for the Worker's `stats`. A counter is a cell in memory: counting stores nothing.

use std::{
    cell::{Cell, RefCell},
    fmt::Write,
};

use super::RoomHost;
use crate::{Error, ErrorKind, platform::Platform, wire};

#[derive(Debug, Default)]
pub(super) struct Counters {
    since: Cell<u64>,
    frames_in: Counter,
    bytes_in: Counter,
    frames_out: Counter,
    bytes_out: Counter,
    handler_errors: Counter,
    /// The few kinds that have occurred.
    refused: RefCell<Vec<(ErrorKind, u64)>>,
}

/// A number of events or bytes. It needs more than a million terabytes to overflow.
#[derive(Debug, Default)]
struct Counter(Cell<u64>);

impl Counter {
    fn add(&self, count: usize) {
        self.0.set(self.0.get() + count as u64);
    }
}

impl Counters {
    pub(super) fn starting_at(now_ms: u64) -> Self {
        Counters { since: Cell::new(now_ms), ..Counters::default() }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.frames_in.add(1);
        self.bytes_in.add(bytes);
    }

    pub(super) fn sent(&self, frames: usize, bytes_each: usize) {
        self.frames_out.add(frames);
        self.bytes_out.add(frames * bytes_each);
    }

    pub(super) fn failed(&self) {
        self.handler_errors.add(1);
    }

    pub(super) fn refused(&self, kind: ErrorKind) {
        let mut refused = self.refused.borrow_mut();
        match refused.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => refused.push((kind, 1)),
        }
    }
}

impl RoomHost {
    /// The answer to `stats`, the JSON of a [`Stats`](crate::Stats).
    ///
    /// It is written by hand: a serializer for it would be in the wasm of every room.
    pub(super) fn stats(&self) -> Result<String, Error> {
        let counters = &self.counters;
        let stored_bytes = Platform::stored_bytes(&*self.platform).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the size of the room's storage could not be read: {refusal}"))
                .in_room(&self.id)
        })?;
        let queued: usize = self.slots.borrow().iter().flatten().map(|slot| slot.queued_frames.get()).sum();
        let schedules = self.room.parts.firing.as_ref().map_or(Ok(0), |firing| firing.count(self))?;
        let mut json = String::from("{");
        for (name, value) in [
            ("since", counters.since.get()),
            ("peers", self.platform.count_open() as u64),
            ("away", self.count_kept()? as u64),
            ("queued", queued as u64),
            ("frames_in", counters.frames_in.0.get()),
            ("bytes_in", counters.bytes_in.0.get()),
            ("frames_out", counters.frames_out.0.get()),
            ("bytes_out", counters.bytes_out.0.get()),
            ("handler_errors", counters.handler_errors.0.get()),
            ("schedules", schedules as u64),
            ("stored_bytes", stored_bytes),
        ] {
            // Writing to a string never fails.
            let _ = write!(json, "\"{name}\":{value},");
        }
        json += "\"refused\":{";
        for (number, (kind, count)) in counters.refused.borrow().iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let _ = write!(json, "{comma}\"{kind}\":{count}");
        }
        json += "}}";
        Ok(wire::ok_reply(&json))
    }
}
