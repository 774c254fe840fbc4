//! What a room takes from outside, and how much of it.

/// What a room accepts. `#[room(max_peers = …, max_message_bytes = …, …)]` sets it; a room written by hand gives it as
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
    /// The most peers at once; an upgrade past it is answered with 503. Cloudflare allows an object 32,768 sockets.
    pub max_peers: usize,
    /// The largest frame of a peer, in bytes. What is larger is not decoded. Cloudflare passes on at most 32 MiB.
    pub max_message_bytes: usize,
    /// The most bytes that a peer may be sent after it last showed that it reads. Past it the peer is skipped, and its
    /// connection closed with 1013. Cloudflare has no such bound and does not say how much waits in a socket; what a peer
    /// does not read stays in the object's 128 MB of memory.
    ///
    /// A peer shows that it reads by a frame of its own, by a [heartbeat](crate::Room::HEARTBEAT), and when the room
    /// hibernates, which a room with undelivered frames does not. A client that only listens shows nothing. So, for a peer
    /// that has never sent a heartbeat, the count falls with time, by the whole limit in a minute: with the default of
    /// 16 MiB a silent client can be sent 279 kB each second without an end. Both the heartbeat and the time are looked at
    /// only when the count is over the limit: a peer that stops reading can be sent twice the limit in a burst.
    ///
    /// The refill costs certainty: a peer without heartbeats that stops reading is not noticed in a room that sends it less
    /// than the limit in a minute, and what waits for it grows until its connection breaks. In a room that sends a lot for a
    /// long time, let clients send the heartbeat every 30 seconds; the platform answers it, and the room is not woken. From its
    /// first heartbeat on, a peer is held to the limit between two of them, so a client that sends one has to go on.
    pub max_unread_bytes: usize,
    /// How fast a peer may send frames; `None` is any rate.
    pub rate_limit: Option<RateLimit>,
}

/// The time in which the [budget](Limits::max_unread_bytes) of a peer without heartbeats refills.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const REFILL_MS: u64 = 60_000;

impl Limits {
    /// How deep the JSON of an event may be nested: 100 levels, each `[` or `{` being one. A frame that is nested deeper,
    /// wherever in it, is not an event.
    ///
    /// That is less than [`MAX_DEPTH`](Limits::MAX_DEPTH), so that a room can store what it was sent, and send it on.
    pub const MAX_EVENT_DEPTH: u8 = 100;

    /// How deep the JSON may be nested of what a room stores or sends: its state, a peer's data, an alarm, a broadcast. 120
    /// levels, with the few that the room puts around it: data is kept in a list, an alarm in two objects. What is nested
    /// deeper is refused with [`ErrorKind::Encode`](crate::ErrorKind::Encode) when it is written.
    ///
    /// serde_json reads 127 levels.
    pub const MAX_DEPTH: u8 = 120;

    /// 1,000 peers, frames of 1 MiB, 16 MiB unread, any rate.
    pub const DEFAULT: Limits =
        Limits { max_peers: 1_000, max_message_bytes: 1_048_576, max_unread_bytes: 16_777_216, rate_limit: None };

    /// With another [`max_peers`](Limits::max_peers).
    pub const fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// With another [`max_message_bytes`](Limits::max_message_bytes).
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// With another [`max_unread_bytes`](Limits::max_unread_bytes).
    pub const fn max_unread_bytes(mut self, bytes: usize) -> Self {
        self.max_unread_bytes = bytes;
        self
    }

    /// With a [`rate_limit`](Limits::rate_limit).
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

/// How fast a peer may send frames: a bucket of `burst` tokens, one a frame, filled with `per_second` of them. All sockets
/// of one peer id share a bucket. The frame that finds it empty is not decoded; its sender gets one error frame with
/// `retry_after_ms`.
///
/// Buckets live in memory. A room sleeps at the earliest when it has had nothing to do for 10 s, and wakes with full ones.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many frames may come at once.
    pub burst: u32,
    /// How many more may come each second.
    pub per_second: f64,
}

impl RateLimit {
    /// `burst` frames at once, `per_second` more each second.
    pub const fn new(burst: u32, per_second: f64) -> Self {
        RateLimit { burst, per_second }
    }
}

/// What becomes of a frame that is not an event of the room, beside `on_decode_error`:
/// `#[room(on_invalid = "report")]`. Whatever it is, the frame changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnInvalid {
    /// Its sender gets one error frame.
    #[default]
    Report,
    /// Nothing.
    Ignore,
    /// The connection is closed: with 1009 when the frame is too large, with 1007 otherwise.
    Close,
}
