//! Every storage key of the runtime, in one place: stored data of a deployed room must stay readable.

/// The room's state, as JSON.
pub(crate) const STATE: &str = "room:state";
/// The `state_version` under which the state was stored.
pub(crate) const STATE_VERSION: &str = "room:state_version";
/// The room's id. An alarm after a restart loads an object into memory without its name.
pub(crate) const ID: &str = "room:id";
/// The mark that a peer has joined the room since its last purge.
pub(crate) const JOINED: &str = "room:joined";
/// The roster: one entry for each peer, under the name of the entry.
pub(crate) const PEERS: &str = "room:peer:";
/// The ends of connections that are not handled yet, under the name of the peer's roster entry.
pub(crate) const LEAVING: &str = "room:leaving:";
/// The places of each user, under the user's id, in a room with `on_join` or `on_leave`.
pub(crate) const USERS: &str = "room:user:";
/// The users whose `on_join` or `on_leave` has not begun, under the user's id.
pub(crate) const OUTSTANDING: &str = "room:outstanding:";
/// The schedules, under their ids.
pub(crate) const SCHEDULES: &str = "room:schedule:";
/// The subscriptions: one for each topic and peer, under the topic, a space and the name of the peer's roster entry.
pub(crate) const TOPICS: &str = "room:topic:";
/// The digests of the migrations of the database that have run, as a JSON array in their order.
pub(crate) const MIGRATIONS: &str = "room:migrations";
/// The answers to calls with an idempotency key, under their position in a ring.
pub(crate) const ANSWERS: &str = "room:answer:";
/// The buckets of a slow rate limit, under the peer id or the client address.
pub(crate) const RATES: &str = "room:rate:";
/// The time of the last removal of full buckets.
pub(crate) const RATES_SWEPT: &str = "room:rates_swept";
/// The identity of the outbox in this life of the room.
pub(crate) const OUTBOX_SOURCE: &str = "room:outbox";
/// The durable calls that wait, under their numbers.
pub(crate) const OUTBOX_CALLS: &str = "room:outbox:call:";
/// The failed attempts of durable calls, under their numbers.
pub(crate) const OUTBOX_ATTEMPTS: &str = "room:outbox:attempts:";
/// The last durable call that was handled of each other room, under the identity of that room's outbox.
pub(crate) const MARKS: &str = "room:mark:";
/// The sessions of clients of `room.v1`, under their tokens.
pub(crate) const SESSIONS: &str = "room:session:";
/// The age of the room's memory of sessions.
pub(crate) const SESSIONS_SINCE: &str = "room:sessions_since";
/// The log of messages for clients that resume, under their positions.
pub(crate) const LOG: &str = "room:log:";
/// The last position at which a place began.
pub(crate) const LOG_POSITION: &str = "room:log_position";
/// The outcomes of a session that are more than an acknowledgement, under its token and their position in a ring.
pub(crate) const OUTCOMES: &str = "room:outcome:";
