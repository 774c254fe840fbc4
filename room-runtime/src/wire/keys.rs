//! Every key that the runtime stores values under, in one place: a layout that is deployed stays readable.

/// The room's state, as JSON.
pub(crate) const STATE: &str = "room:state";
/// The `state_version` under which the state was stored.
pub(crate) const STATE_VERSION: &str = "room:state_version";
/// The room's id. An alarm after a restart brings an object into memory without its name.
pub(crate) const ID: &str = "room:id";
/// Says that a peer has joined the room since its last purge.
pub(crate) const JOINED: &str = "room:joined";
/// The roster: one entry for each peer, under the entry's name.
pub(crate) const PEERS: &str = "room:peer:";
/// Ends of connections that have not been handled, under the name of the peer's entry.
pub(crate) const LEAVING: &str = "room:leaving:";
/// The schedules, under their ids.
pub(crate) const SCHEDULES: &str = "room:schedule:";
/// The answers to calls with an idempotency key, under their place in a ring.
pub(crate) const ANSWERS: &str = "room:answer:";
