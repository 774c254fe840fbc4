//! Handlers that are sync, async, public, private, behind `cfg`, with and without a result, and with any error.

#![deny(warnings)]
#![allow(
    clippy::needless_lifetimes,
    clippy::non_minimal_cfg,
    clippy::redundant_pub_crate,
    clippy::unnecessary_wraps,
    clippy::unused_async,
    clippy::wildcard_imports
)]

use room_runtime::prelude::*;

#[room]
mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {
        pub number: String,
    }
    pub struct Broadcast {}

    async fn on_start(ctx: &Ctx) -> Result {
        helper(ctx).await
    }

    async fn helper(ctx: &Ctx) -> Result {
        ctx.broadcast(&Broadcast {})?;
        Ok(())
    }

    #[cfg(all())]
    pub(crate) fn on_connect(_: &Ctx, peer: &Peer) {
        let _ = peer.id();
    }

    #[cfg(any())]
    fn on_connect(_: &Ctx, peer: &Peer) -> DoesNotExist {}

    fn on_event<'a>(_ctx: &'a Ctx, Event { number }: Event) -> std::result::Result<(), std::num::ParseIntError> {
        number.parse::<u32>().map(drop)
    }

    async fn on_close(_: &Ctx, _: &Peer, _: Close) -> std::result::Result<(), room_runtime::Error> {
        Ok(())
    }

    #[inline]
    pub(crate) async fn on_request<'a>(
        ctx: &'a Ctx,
        mut request: http::Request<Bytes>,
    ) -> std::result::Result<http::Response<&'static str>, room_runtime::Error>
    where
        State: Default,
    {
        request.headers_mut().clear();
        match request.method().as_str() {
            "DELETE" => ctx.purge(),
            "PUT" => {
                let purged: std::result::Result<(), room_runtime::Error> = ctx.purge();
                purged?;
                ctx.purge()
            }
            _ => Ok(http::Response::new("")),
        }
    }

    fn on_alarm(_: &Ctx) -> std::result::Result<(), worker::Error> {
        Ok(())
    }
}

fn main() {}
