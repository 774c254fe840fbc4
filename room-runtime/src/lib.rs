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

mod api;
mod engine;
mod object;
#[allow(unsafe_code, reason = "the bindings that wasm-bindgen generates")]
mod platform;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod types;
mod wire;

pub use room_macros::{data, room};

pub use crate::{
    api::{
        client::{Call, RoomClient, RoomHandle},
        context::RoomContext,
        json::{Json, query},
        peer::{Delivery, Peer, PeerInfo, Peers, Presence},
        room::Room,
        room_socket::RoomSocket,
        schedule::{HandlesAlarms, Schedule},
        sql::{Sql, SqlParameter, SqlParameters},
        upgrade::{Reject, Upgrade, UpgradeRequest},
    },
    platform::{
        sql::SqlValue,
        transport::{Jurisdiction, LocationHint},
    },
    types::{
        close::{Close, CloseCode},
        decode_error::{DecodeError, DecodeReason},
        error::{Error, ErrorKind, Failure},
        handler_error::HandlerError,
        id::{PeerId, RoomId},
        limits::{Limits, OnInvalid, RateLimit},
        schedule::{ScheduleId, SystemFailure},
        upgrade::{OnDuplicate, OnResume},
    },
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
        api::outcome::{
            AlarmParameter, CloseParameter, CtxParameter, DecodeErrorParameter, EnvParameter, EventParameter,
            HandlerErrorParameter, InitOutcome, InitialState, Missing, Outcome, PeerParameter, RequestOutcome,
            RequestParameter, ServicesOutcome, UpgradeOutcome, UpgradeParameter, ValueParameter, VersionParameter,
        },
        object::cloudflare::{Object, install},
        wire::json::tagged::{Tagged, deserialize_tagged},
    };

    #[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
    pub use crate::object::bench::Engine;
}
