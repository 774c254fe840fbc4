//! The contract of a room: one suite of named cases, each written once, run in memory and on workerd. A rule of `docs/rules.md`
//! is true when both agree.
//!
//! - [`harness`]: what a case is written against; [`memory`] and [`workerd`] carry it
//! - [`cases`]: the list of all cases, and the cases by what they are about
//! - [`client`]: a WebSocket client for native programs
//! - [`run`]: how cases are run
//! - [`parity`]: that `docs/parity.md` names cases that there are
//!
//! The rooms are those of the crate `conformance-rooms`.

pub mod cases;
pub mod client;
pub mod harness;
mod http;
pub mod memory;
pub mod parity;
pub mod run;
pub mod workerd;
