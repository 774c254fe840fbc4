//! Every option at once, with numbers in every form, and its result; and the defaults of a room without options.

#![deny(warnings)]

use room_runtime::{Limits, OnInvalid, RateLimit, RateLimitBy, Room, prelude::*};

#[room(
    binding = "CHAT_DO",
    class = "Lobby",
    tag = "kind",
    codec = "msgpack, json",
    max_peers = 1_000usize,
    max_message_bytes = (65536),
    max_unread_bytes = 0x10_0000,
    rate_limit(by = "address", per_second = 0.5, burst = 10u32),
    allowed_origins("https://example.com", ("http://*.localhost:8787"), "null"),
    on_invalid = "close",
    heartbeat("ping", "{\"pong\": true}"),
    state_version = 4_294_967_295,
    reconnect_grace = "1500ms",
    replay(messages = 500, age = "10m", bytes = 1000000),
    purge_after = ("3650d"),
    batch = "20ms",
    watchdog = "90s",
    outbox_timeout = "30d",
    peer_timeout = "1d",
    crate = "room_runtime",
)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    fn migrate(_version: u32, _state: room_runtime::serde_json::Value) -> State {
        State {}
    }

    fn on_undelivered(_ctx: &Ctx, _undelivered: &room_runtime::Undelivered) {}
}

/// Each literal comes through a macro fragment, which puts an invisible group around it.
// rustfmt indents the options further on each run.
#[rustfmt::skip]
macro_rules! room_with {
    ($name:ident, $peers:literal, $burst:expr, $on_invalid:literal, $ping:literal, $time:literal, $origin:literal) => {
        #[room(
            max_peers = $peers,
            rate_limit(burst = $burst, per_second = 2, by = "peer"),
            allowed_origins($origin),
            on_invalid = $on_invalid,
            heartbeat($ping, $ping),
            reconnect_grace = $time,
            purge_after = $time,
            batch = "1s",
            watchdog = $time,
            peer_timeout = $time,
        )]
        pub mod $name {
            #[derive(Default)]
            pub struct State {}
            pub struct Connection {}
            pub struct Event {}
            pub struct Broadcast {}
        }
    };
}

room_with!(from_a_macro, 50, 3, "ignore", "hello", "2m", "https://*.example.com");

#[room]
pub mod plain {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {
    let limits = Limits::DEFAULT.max_peers(1_000).max_message_bytes(65_536).max_unread_bytes(1_048_576);
    assert_eq!(chat::Room::LIMITS, limits.rate_limit(RateLimit::new(10, 0.5).by(RateLimitBy::Address)));
    assert_eq!(chat::Room::ALLOWED_ORIGINS, ["https://example.com", "http://*.localhost:8787", "null"]);
    assert_eq!(chat::Room::ON_INVALID, OnInvalid::Close);
    assert_eq!(chat::Room::HEARTBEAT, ("ping", "{\"pong\": true}"));

    assert_eq!(chat::Room::STATE_VERSION, u32::MAX);
    assert_eq!(chat::Room::RECONNECT_GRACE_MS, 1_500);
    assert_eq!(chat::Room::PURGE_AFTER_MS, 3_650 * 24 * 60 * 60 * 1_000);
    assert_eq!(chat::Room::BATCH_MS, 20);
    assert_eq!(chat::Room::WATCHDOG_MS, 90_000);
    assert_eq!(chat::Room::OUTBOX_TIMEOUT_MS, 30 * 24 * 60 * 60 * 1_000);
    assert_eq!(chat::Room::PEER_TIMEOUT_MS, 86_400_000);

    let limits = Limits::DEFAULT.max_peers(50).rate_limit(RateLimit::new(3, 2.0));
    assert_eq!(from_a_macro::Room::LIMITS, limits);
    assert_eq!(from_a_macro::Room::ALLOWED_ORIGINS, ["https://*.example.com"]);
    assert_eq!(from_a_macro::Room::ON_INVALID, OnInvalid::Ignore);
    assert_eq!(from_a_macro::Room::HEARTBEAT, ("hello", "hello"));
    assert_eq!(from_a_macro::Room::STATE_VERSION, 0);
    assert_eq!(from_a_macro::Room::RECONNECT_GRACE_MS, 120_000);
    assert_eq!(from_a_macro::Room::PURGE_AFTER_MS, 120_000);
    assert_eq!(from_a_macro::Room::BATCH_MS, 1_000);
    assert_eq!(from_a_macro::Room::WATCHDOG_MS, 120_000);
    assert_eq!(from_a_macro::Room::PEER_TIMEOUT_MS, 120_000);

    assert_eq!(plain::Room::LIMITS, Limits::DEFAULT);
    assert!(plain::Room::ALLOWED_ORIGINS.is_empty());
    assert_eq!(plain::Room::ON_INVALID, OnInvalid::Report);
    assert_eq!(plain::Room::HEARTBEAT, ("ping", "pong"));
    assert_eq!(plain::Room::STATE_VERSION, 0);
    assert_eq!(plain::Room::RECONNECT_GRACE_MS, 0);
    assert_eq!(plain::Room::PURGE_AFTER_MS, 0);
    assert_eq!(plain::Room::BATCH_MS, 0);
    assert_eq!(plain::Room::WATCHDOG_MS, 300_000);
    assert_eq!(plain::Room::OUTBOX_TIMEOUT_MS, 24 * 60 * 60 * 1_000);
    assert_eq!(plain::Room::PEER_TIMEOUT_MS, 0);
}
