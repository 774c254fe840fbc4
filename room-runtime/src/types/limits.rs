//! The limits of a room for peers and their frames.

/// The limits of a room for its peers and their frames.
///
/// `#[room(max_peers = …, max_message_bytes = …, …)]` sets them. A room that is written by hand sets
/// [`Room::LIMITS`](crate::Room::LIMITS).
///
/// ```
/// use room_runtime::{Limits, RateLimit};
///
/// const LIMITS: Limits = Limits::DEFAULT.max_peers(50).rate_limit(RateLimit::new(10, 2.0));
/// assert_eq!(LIMITS.max_message_bytes, 1_048_576);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest number of peers at a time. A further upgrade is answered with 503. A place that is kept for
    /// [`RECONNECT_GRACE_MS`](crate::Room::RECONNECT_GRACE_MS) counts. Cloudflare allows an object 32,768 sockets.
    pub max_peers: usize,
    /// The largest frame of a peer, in bytes. A larger frame is not decoded. Cloudflare delivers at most 32 MiB.
    pub max_message_bytes: usize,
    /// The most bytes that a peer can be sent after its last sign of reading.
    ///
    /// A slow consumer past this limit is skipped, and its connection is closed with 1013. Cloudflare has no such limit
    /// and does not report how much waits in a socket. Unread frames stay in the object's 128 MB of memory.
    ///
    /// The signs of reading are a frame of the peer, a [heartbeat](crate::Room::HEARTBEAT), and a hibernation of the
    /// room, because a room with undelivered frames does not hibernate. A client that only listens gives no sign. The
    /// count of a peer that has never sent a heartbeat therefore falls with time, by the whole limit in a minute. With
    /// the default of 16 MiB, such a client can be sent 279 kB each second without an end. The room checks the
    /// heartbeat and the time only when the count exceeds the limit, so a peer that stops reading can be sent twice the
    /// limit in a burst.
    ///
    /// One kind of slow consumer is not noticed: a peer without heartbeats stops reading, and the room sends it less
    /// than the limit in a minute. The unread frames then grow until the connection breaks. In a room that sends a lot
    /// for a long time, let clients send the heartbeat every 30 seconds; the platform answers it and does not wake the
    /// room. From its first heartbeat on, a peer is held to the limit between two heartbeats, so a client that sends
    /// one has to continue.
    pub max_unread_bytes: usize,
    /// The rate at which a peer can send frames; `None` is any rate.
    pub rate_limit: Option<RateLimit>,
    /// The largest number of sessions of [`room.v1`](crate::SUBPROTOCOL) that the room remembers.
    ///
    /// A session is stored with its first number, in about 100 bytes. Past the limit, the room forgets those whose last
    /// number is oldest. A client that resumes a forgotten
    /// session cannot know if its unanswered events were handled, and reports them as failed.
    pub max_sessions: usize,
}

/// The largest data of a peer, in bytes of JSON. Cloudflare keeps at most 16,384 serialized bytes with a hibernating
/// socket; the rest is for the peer's id and for the runtime's own fields.
pub(crate) const MAX_DATA_BYTES: usize = 14_336;

/// The largest attachment of a socket, in bytes: the peer's id, data and topics, and the runtime's own fields, as JSON.
///
/// Cloudflare keeps 16,384 serialized bytes. The rest is for the format in which it serializes them.
pub(crate) const MAX_ATTACHMENT_BYTES: usize = 16_384 - 64;

/// The time in which the [budget](Limits::max_unread_bytes) of a peer without heartbeats refills.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const REFILL_MS: u64 = 60_000;

impl Limits {
    /// The deepest nesting of the JSON of an event: 100 levels, where each `[` or `{` is one.
    ///
    /// A frame that is nested deeper, at any position, is not an event. The limit is less than
    /// [`MAX_DEPTH`](Limits::MAX_DEPTH), so that a room can store and send the events that it received.
    pub const MAX_EVENT_DEPTH: u8 = 100;

    /// The deepest nesting of the JSON of a state, a peer's data, an alarm or a broadcast: 120 levels.
    ///
    /// The levels include the few that the room adds: data is stored in a list, and an alarm in two objects. A value
    /// that is nested deeper is refused with [`ErrorKind::Encode`](crate::ErrorKind::Encode) when it is written.
    ///
    /// serde_json reads 127 levels.
    pub const MAX_DEPTH: u8 = 120;

    /// The default limits: 1,000 peers, frames of 1 MiB, 16 MiB unread, any rate, 10,000 sessions.
    pub const DEFAULT: Limits = Limits {
        max_peers: 1_000,
        max_message_bytes: 1_048_576,
        max_unread_bytes: 16_777_216,
        rate_limit: None,
        max_sessions: 10_000,
    };

    /// Sets [`max_peers`](Limits::max_peers).
    pub const fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// Sets [`max_message_bytes`](Limits::max_message_bytes).
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets [`max_unread_bytes`](Limits::max_unread_bytes).
    pub const fn max_unread_bytes(mut self, bytes: usize) -> Self {
        self.max_unread_bytes = bytes;
        self
    }

    /// Sets [`max_sessions`](Limits::max_sessions).
    pub const fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets a [`rate_limit`](Limits::rate_limit).
    pub const fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// The rate at which a peer can send frames, as a token bucket.
///
/// The bucket has `burst` tokens and gets `per_second` new ones. Each frame takes one token before it is decoded, and
/// the rest of its [cost](crate::Room::event_cost) after that. [`by`](RateLimit::by) says which sockets share a bucket.
/// A frame that finds the bucket empty is not decoded, and its sender gets an error frame with `retry_after_ms`. The
/// sender gets no further error frame after 100 dropped frames in a row, until one of its frames passes.
///
/// A bucket outlives the connections that use it. A bucket that needs more than 10 s to fill, `burst / per_second`, is
/// stored, so it also survives hibernation, crashes and restarts. Other buckets are in memory only: a room hibernates
/// after 10 s without work at the earliest, and by then they are full.
///
/// A stored bucket is written ahead of its use and not for each frame, so the next incarnation can find up to a
/// sixteenth of the burst less than was left, or the tokens of one second if these are more. It never finds more. A
/// room keeps at most 16,384 buckets in memory and in storage; the fullest are dropped first.
///
/// ```
/// use room_runtime::{RateLimit, Room as _, prelude::*, testing::TestRoom};
///
/// #[room(rate_limit(burst = 2, per_second = 0.5))]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub said: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         ctx.update(|state| state.said += 1)?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!(chat::Room::LIMITS.rate_limit, Some(RateLimit::new(2, 0.5)));
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}));
/// (0..3).for_each(|_| ada.send(&chat::Event::Say { text: "hi".into() }));
/// assert_eq!(room.state()?, Some(chat::State { said: 2 }));
/// assert_eq!(ada.receive_error().map(|error| error.kind()), Some(ErrorKind::RateLimited));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The number of frames that can arrive at once.
    pub burst: u32,
    /// The number of further frames that can arrive each second.
    pub per_second: f64,
    /// The sockets that share a bucket. The default is [`RateLimitBy::Peer`].
    pub by: RateLimitBy,
}

/// The sockets that share the bucket of a [`RateLimit`]: `#[room(rate_limit(…, by = "address"))]`.
///
/// ```
/// use room_runtime::{RateLimitBy, Room as _, prelude::*};
///
/// // A client cannot get a new bucket with another peer id.
/// #[room(rate_limit(burst = 20, per_second = 2, by = "address"))]
/// pub mod board {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The schemas and handlers of the room are here.
/// }
///
/// # fn main() {
/// assert_eq!(board::Room::LIMITS.rate_limit.map(|limit| limit.by), Some(RateLimitBy::Address));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitBy {
    /// The sockets of one peer id. A client that can choose its id, or gets a random one, gets a new bucket with it.
    #[default]
    Peer,
    /// The sockets of one client address.
    ///
    /// The address is the header `cf-connecting-ip` of the upgrade's request, which Cloudflare sets. The IPv6 addresses
    /// of one /64 network count as one address, because a client usually has a whole network. The address stays with
    /// the socket through hibernation. A socket whose request has no such header, or none with an IP address, is
    /// counted by peer id: so are the Worker's own [`connect`](crate::RoomHandle::connect) and most tests.
    ///
    /// All clients behind one address share a bucket, for example those of an office or of a mobile network.
    Address,
}

impl RateLimit {
    /// The time that a bucket can be idle in memory: Cloudflare hibernates an object after 10 s without work.
    const IDLE_SECONDS: f64 = 10.0;

    /// Creates a rate of `burst` frames at once and `per_second` more each second, for each peer id.
    pub const fn new(burst: u32, per_second: f64) -> Self {
        RateLimit { burst, per_second, by: RateLimitBy::Peer }
    }

    /// Sets the sockets that share a [bucket](RateLimit::by).
    pub const fn by(mut self, by: RateLimitBy) -> Self {
        self.by = by;
        self
    }

    /// True if a bucket can be less than full when the room wakes, so that it has to be stored.
    pub(crate) const fn is_stored(&self) -> bool {
        self.burst as f64 > self.per_second * Self::IDLE_SECONDS
    }

    /// The time in which an empty bucket fills, in milliseconds.
    pub(crate) fn fill_ms(&self) -> u64 {
        // A cast from a float saturates.
        (f64::from(self.burst) / self.per_second * 1_000.0).ceil() as u64
    }
}

/// The bounds of the log from which clients that resume get what they have missed: `#[room(replay(messages = 1000))]`.
///
/// A room with a log, and a [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS), stores each message that it sends. A client of
/// [`room.v1`](crate::SUBPROTOCOL) that resumes its place gets the messages that were addressed to it since the last that it
/// received, in order and once: broadcasts, selections, topics and direct messages, also those that were lost with the old
/// connection. If the log does not reach back as far, the client is informed of a gap, and
/// [`Peer::has_gap`](crate::Peer::has_gap) is true in `on_resume`.
///
/// A message costs one written row, and a second one later, when it is deleted. A message to a topic, to a filter or to single
/// peers stores a number of up to 16 digits for each receiver. Binary frames of a room's own protocol are not logged.
///
/// ```
/// use room_runtime::{Replay, Room as _, prelude::*};
///
/// #[room(reconnect_grace = "2m", replay(messages = 1000, age = "10m"))]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub lines: Vec<String> }
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { History { lines: Vec<String> } }
///     // The room's schemas are here.
///     pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
///         // Without a gap, the peer has got what it missed.
///         if peer.has_gap() {
///             peer.send(&Broadcast::History { lines: ctx.state()?.lines.clone() })?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() {
/// assert_eq!(chat::Room::REPLAY, Replay::new(1000).age(600_000));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// The most messages. The room deletes several at a time, so there can be up to an eighth more, and at most 64.
    pub messages: u32,
    /// The longest time that a message is replayed, in milliseconds. The room deletes older ones with its next message.
    pub age_ms: u64,
    /// The most bytes of messages, as JSON, with the lists of their receivers. The room deletes several at a time, so there can
    /// be up to an eighth more. A message that is larger than this by itself, or than 1,737,856 bytes, is sent and not kept: a
    /// client that was away learns of a gap.
    pub bytes: u32,
}

impl Replay {
    /// No log.
    pub const NONE: Replay = Replay::new(0);

    /// Creates the bounds for this number of messages, an hour and 4 MiB.
    pub const fn new(messages: u32) -> Self {
        Replay { messages, age_ms: 3_600_000, bytes: 4_194_304 }
    }

    /// Sets [`age_ms`](Replay::age_ms).
    pub const fn age(mut self, ms: u64) -> Self {
        self.age_ms = ms;
        self
    }

    /// Sets [`bytes`](Replay::bytes).
    pub const fn bytes(mut self, bytes: u32) -> Self {
        self.bytes = bytes;
        self
    }
}

/// The reaction to a frame that is not an event of the room: `#[room(on_invalid = "report")]`.
///
/// `on_decode_error` runs in every case, and the frame changes nothing.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room(on_invalid = "close")]
/// pub mod game {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Move { x: u32 } }
///     # pub struct Broadcast {}
///     // The schemas and handlers of the room are here.
/// }
///
/// # fn main() {
/// # assert_eq!(<game::Room as room_runtime::Room>::ON_INVALID, room_runtime::OnInvalid::Close);
/// let ada = TestRoom::<game::Room>::new("main").connect(Upgrade::new(game::Connection {}));
/// ada.send_raw(r#"{"type": "Move", "x": -1}"#);
/// assert_eq!(ada.closed().map(|(code, _)| code), Some(1007));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnInvalid {
    /// The sender gets one error frame.
    #[default]
    Report,
    /// The sender gets no answer.
    Ignore,
    /// The connection is closed: with 1009 when the frame is too large, with 1007 otherwise.
    Close,
}
