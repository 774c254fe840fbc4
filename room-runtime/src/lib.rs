//! Live rooms on Cloudflare Durable Objects.
//!
//! A room is many WebSockets, one shared state, and one place where things happen in order. You write an annotated
//! module; [`#[room]`](macro@room) makes it a Durable Object with hibernating WebSockets and a typed client for your
//! Worker; this crate carries all behaviour.
//!
//! ```no_run
//! use room_runtime::prelude::*;
//! use worker::*;
//!
//! /// Counts, for all to see.
//! #[room]
//! pub mod counter {
//!     #[derive(Default)]
//!     pub struct State {
//!         pub count: i64,
//!     }
//!     pub struct Connection {}
//!     pub enum Event {
//!         Add { amount: i64 },
//!     }
//!     pub enum Broadcast {
//!         Count { count: i64 },
//!     }
//!
//!     pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
//!         peer.send(&Broadcast::Count { count: ctx.state()?.count })?;
//!         Ok(())
//!     }
//!
//!     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
//!         let Event::Add { amount } = event;
//!         let count = ctx.update(|state| {
//!             state.count += amount;
//!             state.count
//!         })?;
//!         ctx.broadcast(&Broadcast::Count { count })?;
//!         Ok(())
//!     }
//! }
//!
//! #[event(fetch)]
//! async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
//!     let rooms = counter::RoomClient::from_env(&env)?;
//!     Ok(rooms.room("main").upgrade(req, Upgrade::new(counter::Connection {})).await?)
//! }
//! # fn main() {}
//! ```

#![deny(missing_docs)]

mod client;
mod context;
mod depth;
mod error;
mod handler;
mod heads;
mod host;
mod id;
mod json;
mod limits;
mod peer;
#[allow(unsafe_code, reason = "the bindings that wasm-bindgen generates")]
mod platform;
mod rates;
mod report;
mod room;
mod round_trip;
mod schedule;
mod shell;
mod socket;
mod sql;
mod tagged;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod tickets;
mod transport;
mod turn;
mod upgrade;
mod wire;

#[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
mod engine;

pub use room_macros::{data, room};

pub use crate::{
    client::{Call, RoomClient, RoomHandle},
    context::RoomContext,
    error::{Error, ErrorKind, Failure},
    id::{PeerId, RoomId},
    json::{Json, query},
    limits::{Limits, OnInvalid, RateLimit},
    peer::{Close, CloseCode, Delivery, Peer, PeerInfo, Peers, Presence},
    report::{DecodeError, DecodeReason, HandlerError},
    room::Room,
    schedule::{HandlesAlarms, Schedule, ScheduleId, SystemFailure},
    socket::RoomSocket,
    sql::{Sql, SqlParameter, SqlParameters, SqlValue},
    transport::{Jurisdiction, LocationHint},
    upgrade::{OnDuplicate, OnResume, Reject, Upgrade, UpgradeRequest},
    wire::SUBPROTOCOL,
};

/// What `on_request` takes and returns.
pub use bytes::Bytes;
pub use http;
/// What `migrate` is given.
pub use serde_json;

/// What a room and a Worker name, in one import: `use room_runtime::prelude::*;`.
///
/// It goes together with `use worker::*;`: no name here is one of `worker`'s.
pub mod prelude {
    pub use crate::{
        Bytes, Close, CloseCode, DecodeError, Delivery, ErrorKind, Failure, HandlerError, Json, OnDuplicate, OnResume,
        PeerId, PeerInfo, Reject, RoomHandle, RoomId, ScheduleId, SqlValue, Upgrade, data, http, room, serde_json,
    };
}

/// What the macros' expansion names. Not for use by hand: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use core::{
        clone::Clone,
        cmp::PartialEq,
        fmt::Debug,
        marker::Copy,
        result::Result::{self, Ok},
    };
    pub use std::{prelude::rust_2024 as prelude, string::String, vec::Vec};

    pub use serde;
    pub use worker;

    pub use crate::{
        handler::{
            AlarmParameter, CloseParameter, CtxParameter, DecodeErrorParameter, EnvParameter, EventParameter,
            HandlerErrorParameter, InitOutcome, InitialState, Missing, Outcome, PeerParameter, RequestOutcome,
            RequestParameter, ServicesOutcome, UpgradeOutcome, UpgradeParameter, ValueParameter, VersionParameter,
        },
        platform::cloudflare::{Object, install},
        tagged::{Tagged, deserialize_tagged},
    };

    #[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
    pub use crate::engine::Engine;
}
