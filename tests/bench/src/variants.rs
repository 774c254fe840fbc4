//! The variants: the same room, written four ways, and one of them without batches.

use std::fmt;

use anyhow::{Result, bail};
use serde::Serialize;

/// A measured variant. Two variants may run on the same worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// A bare JavaScript Durable Object.
    Bare,
    /// `Bare` once more: shows the difference between two measurements of the same worker.
    BareAgain,
    /// JavaScript with partyserver.
    Partyserver,
    /// Rust with the `worker` crate alone.
    Plain,
    /// Rust with `#[room]`.
    Ours,
    /// `Ours` with peers that accept several messages in one frame.
    Batched,
    /// `Ours` without batches.
    Unnumbered,
    /// The same with a client of `room.v1`, which numbers its events.
    Acknowledged,
}

impl Variant {
    pub(crate) const ALL: [Variant; 8] = [
        Variant::Bare,
        Variant::BareAgain,
        Variant::Partyserver,
        Variant::Plain,
        Variant::Ours,
        Variant::Batched,
        Variant::Unnumbered,
        Variant::Acknowledged,
    ];

    pub(crate) fn worker(self) -> Worker {
        match self {
            Variant::Bare | Variant::BareAgain => Worker::Bare,
            Variant::Partyserver => Worker::Partyserver,
            Variant::Plain => Worker::Plain,
            Variant::Ours | Variant::Batched => Worker::Ours,
            Variant::Unnumbered | Variant::Acknowledged => Worker::Numbered,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Variant::Bare => "bare",
            Variant::BareAgain => "bare-again",
            Variant::Partyserver => "partyserver",
            Variant::Plain => "plain",
            Variant::Ours => "ours",
            Variant::Batched => "batched",
            Variant::Unnumbered => "unnumbered",
            Variant::Acknowledged => "acknowledged",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the workers in `tests/bench/variants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Worker {
    Bare,
    Partyserver,
    Plain,
    Ours,
    Numbered,
}

impl Worker {
    pub(crate) const ALL: [Worker; 5] =
        [Worker::Bare, Worker::Partyserver, Worker::Plain, Worker::Ours, Worker::Numbered];

    /// The folder's name, and the name of the worker's service and socket.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Worker::Bare => "bare",
            Worker::Partyserver => "partyserver",
            Worker::Plain => "plain",
            Worker::Ours => "ours",
            Worker::Numbered => "numbered",
        }
    }

    /// The Durable Object's class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Worker::Bare => "BareRoom",
            Worker::Partyserver => "PartyRoom",
            Worker::Plain => "PlainRoom",
            Worker::Ours => "OurRoom",
            Worker::Numbered => "NumberedRoom",
        }
    }

    pub(crate) fn has_wasm(self) -> bool {
        matches!(self, Worker::Plain | Worker::Ours | Worker::Numbered)
    }

    pub(crate) fn parse(name: &str) -> Result<Worker> {
        match Worker::ALL.into_iter().find(|worker| worker.name() == name) {
            Some(worker) => Ok(worker),
            None => {
                let names = Worker::ALL.map(Worker::name).join(", ");
                bail!("unknown variant `{name}`; there are {names}")
            }
        }
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
