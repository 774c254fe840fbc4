//! The contract of a room as one suite of named cases. Each case is written once, and runs in memory and on workerd.
//!
//! A rule of `docs/rules.md` counts as true if both platforms pass.
//!
//! - [`harness`]: the interface that cases use; [`memory`] and [`workerd`] implement it
//! - [`cases`]: the list of all cases, and the cases by topic
//! - [`bridge`]: the Rust client of `room.v1` over the sockets of either platform
//! - [`run`]: the runners of cases
//! - [`parity`]: checks that `docs/parity.md` names existing cases
//!
//! The rooms are in the crate `conformance-rooms`.

#![forbid(unsafe_code)]

pub mod bridge;
pub mod cases;
pub mod harness;
pub mod memory;
pub mod parity;
pub mod run;
pub mod workerd;
