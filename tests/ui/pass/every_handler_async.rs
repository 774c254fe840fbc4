//! Every handler that may be `async` as an `async fn`, with the documented signature.

#![deny(warnings)]
#![allow(clippy::unnecessary_wraps, clippy::wildcard_imports)]

use room_runtime::prelude::*;

#[room(state_version = 1, reconnect_grace = "10s", rate_limit(burst = 10, per_second = 2))]
mod chat {
    use super::*;

    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
    pub struct Services {}
    pub struct Alarm {}

    fn init(_ctx: &Ctx) -> Result<State> {
        Ok(State {})
    }

    fn migrate(_version: u32, _state: room_runtime::serde_json::Value) -> Result<State> {
        Ok(State {})
    }

    fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services {})
    }

    async fn on_start(ctx: &Ctx) -> Result {
        wait(ctx).await
    }

    async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        upgrade.tags.push("admin".to_owned());
        let token: Option<String> = upgrade.meta()?;
        match (wait(ctx).await, token) {
            (Ok(()), Some(_)) => Ok(()),
            _ => Err(Reject::new(401, "who are you?")),
        }
    }

    async fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        wait(ctx).await
    }

    async fn on_join(ctx: &Ctx, _user: &PeerId) -> Result {
        wait(ctx).await
    }

    async fn on_resume(ctx: &Ctx, _peer: &Peer) -> Result {
        wait(ctx).await
    }

    // It is charged where nothing can wait.
    fn event_cost(_event: &Event) -> u32 {
        1
    }

    async fn on_event(ctx: &Ctx, _event: Event) -> Result {
        wait(ctx).await
    }

    async fn on_away(ctx: &Ctx, _peer: &Peer) -> Result {
        wait(ctx).await
    }

    async fn on_close(ctx: &Ctx, _peer: &Peer, _close: Close) -> Result {
        wait(ctx).await
    }

    async fn on_leave(ctx: &Ctx, _user: &PeerId) -> Result {
        wait(ctx).await
    }

    async fn on_alarm(ctx: &Ctx, _alarm: Alarm) -> Result {
        wait(ctx).await
    }

    async fn on_undelivered(ctx: &Ctx, _undelivered: &Undelivered) -> Result {
        wait(ctx).await
    }

    async fn on_binary(ctx: &Ctx, _: Bytes) -> Result {
        wait(ctx).await
    }

    async fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        wait(ctx).await?;
        Ok(http::Response::builder().status(200).body(request.into_body())?)
    }

    async fn on_decode_error(ctx: &Ctx, _error: &DecodeError) -> Result {
        wait(ctx).await
    }

    async fn on_error(ctx: &Ctx, _error: &HandlerError) -> Result {
        wait(ctx).await
    }

    async fn wait(_ctx: &Ctx) -> Result {
        std::future::ready(Ok(())).await
    }
}

fn main() {}
