//! The expansion uses absolute paths only. The derive of schemars, of the feature `bindings`, does not.

#![no_implicit_prelude]
#![deny(warnings)]
#![allow(clippy::missing_errors_doc, clippy::unused_async)]

#[::room_runtime::room(
    max_peers = 5,
    rate_limit(burst = 1, per_second = 1, by = "address"),
    allowed_origins("https://example.com"),
    on_invalid = "close",
    heartbeat("a", "b"),
    state_version = 1,
    reconnect_grace = "10s",
    purge_after = "30d",
    watchdog = "5m"
)]
pub mod chat {
    #[::room_runtime::data(skip(JsonSchema))]
    pub struct State {}
    #[::room_runtime::data(skip(JsonSchema))]
    pub struct Connection {}
    #[::room_runtime::data(skip(JsonSchema))]
    pub enum Event {
        Go { shape: Shape },
    }
    #[::room_runtime::data(skip(JsonSchema))]
    pub struct Broadcast {}

    #[::room_runtime::data(skip(JsonSchema))]
    pub enum Alarm {
        Ring {},
    }
    pub struct Services {}

    #[::room_runtime::data(skip(JsonSchema))]
    pub enum Shape {
        Dot {},
    }

    pub fn init(_ctx: &Ctx) -> Result<State> {
        ::std::result::Result::Ok(State {})
    }

    pub fn migrate(_version: u32, _state: ::room_runtime::serde_json::Value) -> Result<State> {
        ::std::result::Result::Ok(State {})
    }

    pub fn services(_env: &::worker::Env) -> Result<Services> {
        ::std::result::Result::Ok(Services {})
    }

    pub fn on_upgrade(_ctx: &Ctx, _upgrade: &mut UpgradeRequest) {}

    pub fn on_undelivered(ctx: &Ctx, undelivered: &::room_runtime::Undelivered) -> Result {
        if let ::std::option::Option::Some(event) = undelivered.event::<Room>()? {
            ctx.room::<Room>("main")?.send(&event).durably()?;
        }
        ::std::result::Result::Ok(())
    }

    pub fn on_request(
        _ctx: &Ctx,
        request: ::room_runtime::http::Request<::room_runtime::Bytes>,
    ) -> ::room_runtime::http::Response<::room_runtime::Bytes> {
        ::room_runtime::http::Response::new(request.into_body())
    }

    pub fn on_decode_error(_ctx: &Ctx, _error: &::room_runtime::DecodeError) {}

    pub fn on_error(_ctx: &Ctx, _error: &::room_runtime::HandlerError) {}

    pub async fn on_start(_ctx: &Ctx) {}

    pub fn on_connect(_ctx: &Ctx, _peer: &Peer) -> Result {
        ::std::result::Result::Ok(())
    }

    pub async fn on_resume(_ctx: &Ctx, _peer: &Peer) -> Result {
        ::std::result::Result::Ok(())
    }

    pub async fn on_away(_ctx: &Ctx, _peer: &Peer) -> Result {
        ::std::result::Result::Ok(())
    }

    #[must_use]
    pub fn event_cost(_event: &Event) -> u32 {
        1
    }

    pub async fn on_event(_ctx: &Ctx, _event: Event) -> Result {
        ::std::result::Result::Ok(())
    }

    pub fn on_join(_ctx: &Ctx, _user: &::room_runtime::PeerId) {}

    pub fn on_close(_ctx: &Ctx, _peer: &Peer, _close: ::room_runtime::Close) {}

    pub fn on_leave(_ctx: &Ctx, _user: &::room_runtime::PeerId) {}

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        ctx.schedule(alarm).after(::std::time::Duration::from_secs(1))?;
        ::std::result::Result::Ok(())
    }
}

fn main() {}
