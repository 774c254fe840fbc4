//! A room with every schema and handler, in edition 2021, without any warning, including those about the next edition.

#![deny(warnings, missing_docs, rust_2024_compatibility)]
#![forbid(unsafe_code)]

use room_runtime::{http, prelude::*, serde_json};
use worker::{event, Context, Env, Request, Response};

/// A room.
#[room(state_version = 2, reconnect_grace = "10s", rate_limit(burst = 10, per_second = 2))]
pub mod chat {
    use super::*;

    /// State.
    pub struct State {
        /// The number of events.
        pub count: u64,
    }
    /// Connection.
    pub struct Connection {}
    /// Event.
    pub enum Event {
        /// Counts.
        Count {
            /// The distance.
            by: u64,
            /// The direction.
            way: Way,
        },
    }
    /// A way.
    #[data]
    pub enum Way {
        /// Upwards.
        Up,
        /// Along a road.
        Along {
            /// Its name.
            road: String,
        },
    }
    /// Broadcast.
    pub enum Broadcast {
        /// The count.
        Count {
            /// The new count.
            count: u64,
        },
    }
    /// Alarm.
    pub enum Alarm {
        /// Time is up.
        Over,
    }
    /// Services.
    #[derive(Debug)]
    pub struct Services {}

    fn init(_: &Ctx) -> State {
        State { count: 0 }
    }

    fn migrate(_: u32, state: serde_json::Value) -> Result<State> {
        Ok(State { count: state["n"].as_u64().unwrap_or_default() })
    }

    fn services(_: &worker::Env) -> Services {
        Services {}
    }

    async fn on_start(_: &Ctx) {}

    fn on_upgrade(_: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        upgrade.tags.push("all".to_owned());
        Ok(())
    }

    async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Count { count: ctx.state()?.count })?;
        Ok(())
    }

    fn on_resume(_: &Ctx, _: &Peer) {}

    fn on_away(_: &Ctx, _: &Peer) {}

    fn event_cost(_: &Event) -> u32 {
        1
    }

    fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Count { by, way: _ } = event;
        let count = ctx.update(|state| {
            state.count += by;
            state.count
        })?;
        ctx.broadcast(&Broadcast::Count { count })?;
        Ok(())
    }

    fn on_join(_: &Ctx, _: &PeerId) {}

    fn on_close(_: &Ctx, _: &Peer, _: Close) {}

    fn on_leave(_: &Ctx, _: &PeerId) {}

    fn on_alarm(_: &Ctx, alarm: Alarm) {
        match alarm {
            Alarm::Over => {}
        }
    }

    fn on_undelivered(_: &Ctx, _: &Undelivered) {}

    async fn on_request(_: &Ctx, _: http::Request<Bytes>) -> http::Response<Bytes> {
        http::Response::new(Bytes::new())
    }

    fn on_decode_error(_: &Ctx, _: &DecodeError) {}

    fn on_error(_: &Ctx, _: &HandlerError) {}
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _: Context) -> worker::Result<Response> {
    let room = chat::RoomClient::from_env(&env)?.room("r1");
    room.send(&chat::Event::Count { by: 1, way: chat::Way::Up }).await?;
    let response = room.upgrade(request, Upgrade::new(chat::Connection {})).await?;
    Ok(response)
}
