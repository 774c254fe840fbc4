//! The targets of the fuzzer: everything that takes bytes from outside or from storage, with the promises that hold for all bytes.
//!
//! A target is a function that panics if a promise is broken. `tests/fuzz/fuzz` runs them under libFuzzer, and `cargo test -p
//! fuzz-targets` runs them over the kept corpus. [tests/README.md](../../README.md) says how.

#![forbid(unsafe_code)]

mod client;
mod command;
mod events;
mod input;
mod protocol;
mod room;
mod stored;

pub use self::{
    client::client,
    command::command,
    events::{json, msgpack},
    protocol::protocol,
    room::room,
    stored::{records, stored},
};

/// A target: it panics if the bytes break a promise.
pub type Target = fn(&[u8]);

/// The targets by their names, which are also those of their folders in `corpus`.
pub const TARGETS: [(&str, Target); 7] = [
    ("json", json),
    ("msgpack", msgpack),
    ("protocol", protocol),
    ("command", command),
    ("stored", stored),
    ("client", client),
    ("room", room),
];

/// The executions of a long run, by the name of the target. A cheap one gets more.
pub const RUNS: [(&str, u64); 7] = [
    ("json", 3_000_000),
    ("msgpack", 3_000_000),
    ("protocol", 3_000_000),
    ("command", 1_000_000),
    ("stored", 300_000),
    ("client", 1_000_000),
    ("room", 300_000),
];

/// The longest input of a run, in bytes. The promises about size have tests of their own.
pub const MAX_LEN: usize = 4096;
