//! Every option at once, numbers in every form, and what each becomes; and the defaults of a room without any.

#![deny(warnings)]

use room_runtime::{Limits, OnInvalid, RateLimit, Room, prelude::*};

#[room(
    binding = "CHAT_DO",
    class = "Lobby",
    tag = "kind",
    max_peers = 1_000usize,
    max_message_bytes = (65536),
    max_unread_bytes = 0x10_0000,
    rate_limit(per_second = 0.5, burst = 10u32),
    on_invalid = "close",
    heartbeat("ping", "{\"pong\": true}"),
    crate = "room_runtime",
)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

/// The literals come through a fragment each, which puts an invisible group around them.
macro_rules! room_with {
    ($name:ident, $peers:literal, $burst:expr, $on_invalid:literal, $ping:literal) => {
        #[room(max_peers = $peers, rate_limit(burst = $burst, per_second = 2), on_invalid = $on_invalid, heartbeat($ping, $ping))]
        pub mod $name {
            #[derive(Default)]
            pub struct State {}
            pub struct Connection {}
            pub struct Event {}
            pub struct Broadcast {}
        }
    };
}

room_with!(from_a_macro, 50, 3, "ignore", "hello");

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
    assert_eq!(chat::Room::LIMITS, limits.rate_limit(RateLimit::new(10, 0.5)));
    assert_eq!(chat::Room::ON_INVALID, OnInvalid::Close);
    assert_eq!(chat::Room::HEARTBEAT, ("ping", "{\"pong\": true}"));

    let limits = Limits::DEFAULT.max_peers(50).rate_limit(RateLimit::new(3, 2.0));
    assert_eq!(from_a_macro::Room::LIMITS, limits);
    assert_eq!(from_a_macro::Room::ON_INVALID, OnInvalid::Ignore);
    assert_eq!(from_a_macro::Room::HEARTBEAT, ("hello", "hello"));

    assert_eq!(plain::Room::LIMITS, Limits::DEFAULT);
    assert_eq!(plain::Room::ON_INVALID, OnInvalid::Report);
    assert_eq!(plain::Room::HEARTBEAT, ("ping", "pong"));
}
