//! Generated code contains no `unsafe`, and passes lints against discouraged idioms.

#![forbid(unsafe_code)]
#![deny(
    future_incompatible,
    keyword_idents,
    let_underscore,
    missing_debug_implementations,
    missing_docs,
    nonstandard_style,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unreachable_pub,
    unused,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    variant_size_differences,
    warnings
)]
#![allow(clippy::unused_async, clippy::wildcard_imports)]

use room_runtime::{http, prelude::*, serde_json};

/// A room with every schema and handler.
#[room(state_version = 1, reconnect_grace = "10s", rate_limit(burst = 10, per_second = 2))]
pub mod chat {
    use super::*;

    /// State.
    pub struct State {}
    /// Connection.
    pub struct Connection {}
    /// Event.
    pub enum Event {
        /// Go.
        Go {
            /// The destination.
            to: Place,
        },
    }
    /// A place.
    #[data]
    pub enum Place {
        /// At these coordinates.
        At {
            /// The distance to the right.
            x: u32,
        },
        /// Anywhere.
        Anywhere,
    }
    /// Broadcast.
    pub enum Broadcast {
        /// Went.
        Went,
    }
    /// Alarm.
    pub enum Alarm {
        /// Ring.
        Ring,
    }
    /// Services.
    #[derive(Debug)]
    pub struct Services {}

    fn init(_: &Ctx) -> State {
        State {}
    }

    fn migrate(_: u32, _: serde_json::Value) -> State {
        State {}
    }

    fn services(_: &worker::Env) -> Services {
        Services {}
    }

    fn on_start(_: &Ctx) {}

    fn on_upgrade(_: &Ctx, _: &mut UpgradeRequest) {}

    fn on_connect(_: &Ctx, _: &Peer) {}

    fn on_resume(_: &Ctx, _: &Peer) {}

    fn event_cost(_: &Event) -> u32 {
        1
    }

    async fn on_event(_: &Ctx, _: Event) {}

    fn on_join(_: &Ctx, _: &PeerId) {}

    fn on_away(_: &Ctx, _: &Peer) {}

    fn on_close(_: &Ctx, _: &Peer, _: Close) {}

    fn on_leave(_: &Ctx, _: &PeerId) {}

    fn on_alarm(_: &Ctx, _: Alarm) {}

    fn on_undelivered(_: &Ctx, _: &Undelivered) {}

    fn on_request(_: &Ctx, _: http::Request<Bytes>) -> http::Response<Bytes> {
        http::Response::new(Bytes::new())
    }

    fn on_decode_error(_: &Ctx, _: &DecodeError) {}

    fn on_error(_: &Ctx, _: &HandlerError) {}
}

fn main() {}
