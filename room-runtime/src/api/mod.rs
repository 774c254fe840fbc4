//! The public API for the handlers of a room and for the Workers that use rooms.

pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod context;
pub(crate) mod federate;
pub(crate) mod json;
#[cfg(feature = "logs")]
pub mod logs;
pub(crate) mod outcome;
pub(crate) mod peer;
pub(crate) mod raw_socket;
pub(crate) mod room;
pub(crate) mod room_socket;
pub(crate) mod rules;
pub(crate) mod schedule;
pub(crate) mod sibling;
pub(crate) mod sql;
pub(crate) mod typed;
pub(crate) mod undelivered;
pub(crate) mod upgrade;
