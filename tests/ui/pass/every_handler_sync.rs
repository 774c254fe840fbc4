//! Every handler as a plain `fn`, with the shortest signature that each may have.

#![deny(warnings)]
#![allow(clippy::wildcard_imports)]

use room_runtime::prelude::*;

#[room(state_version = 1, reconnect_grace = "10s", rate_limit(burst = 10, per_second = 2))]
mod chat {
    use super::*;

    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
    pub struct Services {}

    fn init(_: &Ctx) -> State {
        State {}
    }

    fn migrate(_: u32, _: room_runtime::serde_json::Value) -> State {
        State {}
    }

    fn services(_: &worker::Env) -> Services {
        Services {}
    }

    fn on_start(_: &Ctx) {}

    fn on_upgrade(_: &Ctx, _: &mut UpgradeRequest) {}

    fn on_connect(_: &Ctx, _: &Peer) {}

    fn on_join(_: &Ctx, _: &PeerId) {}

    fn on_resume(_: &Ctx, _: &Peer) {}

    fn event_cost(_: &Event) -> u32 {
        1
    }

    fn on_event(_: &Ctx, _: Event) {}

    fn on_away(_: &Ctx, _: &Peer) {}

    fn on_close(_: &Ctx, _: &Peer, _: Close) {}

    fn on_leave(_: &Ctx, _: &PeerId) {}

    fn on_alarm(_: &Ctx) {}

    fn on_undelivered(_: &Ctx, _: &Undelivered) {}

    fn on_binary(_: &Ctx, _: Bytes) {}

    fn on_request(_: &Ctx, _: http::Request<Bytes>) -> http::Response<&'static str> {
        http::Response::new("hello")
    }

    fn on_decode_error(_: &Ctx, _: &DecodeError) {}

    fn on_error(_: &Ctx, _: &HandlerError) {}
}

fn main() {}
