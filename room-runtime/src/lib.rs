//! Live rooms on Cloudflare Durable Objects.
//!
//! A room is a Durable Object with many WebSockets and one shared state, and it handles the events of each peer in
//! order. You write an annotated module. [`#[room]`](macro@room) turns it into a Durable Object with hibernating
//! WebSockets and into a typed client for your Worker. This crate contains all behaviour.
//!
//! ```no_run
//! use room_runtime::prelude::*;
//! use worker::*;
//!
//! /// A counter that all peers share.
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
//!
//! # Where to find what
//!
//! The macro [`#[room]`](macro@room) documents the schemas, the handlers and the options of a room, and
//! [`#[data]`](macro@data) the JSON of its other types. [`prelude`] has the names that most rooms need.
//!
//! ## In a handler
//!
//! | for | see |
//! |---|---|
//! | the room: its state, its time, refusals, its end | [`RoomContext`], which is `Ctx` in the module |
//! | one peer, its data and its topics; many peers; users | [`Peer`], [`Peers`], [`Presence`], [`Delivery`] |
//! | admitting a peer, and its end | [`UpgradeRequest`], [`Reject`], [`OnDuplicate`], [`OnResume`]; [`Close`], [`CloseCode`] |
//! | alarms | [`RoomContext::schedule`], [`Schedule`], [`ScheduleId`], [`SystemFailure`] |
//! | the room's own database | [`RoomContext::sql`], [`Sql`], [`SqlValue`], [`SqlParameter`] |
//! | other rooms | [`RoomContext::room`], [`Sibling`], [`SiblingCall`]; durable calls that were given up: [`Undelivered`] |
//! | functions that return a value, `#[call]` | [`OrFailure`], [`CallError`] |
//! | HTTP requests | [`Json`], [`query`], [`http`](https://docs.rs/http), [`Bytes`] |
//! | errors of handlers, and frames that are no events | [`Failure`], [`HandlerError`]; [`DecodeError`], [`Violations`] |
//! | a room that is written by hand | [`Room`], with [`Limits`], [`RateLimit`], [`Replay`], [`Codecs`] |
//!
//! ## In a Worker
//!
//! | for | see |
//! |---|---|
//! | the rooms of one type | [`RoomClient`], with [`Jurisdiction`] |
//! | one room: its state, its peers, events, requests | [`RoomHandle`], [`PeerInfo`], [`Stats`], [`LocationHint`] |
//! | a client's WebSocket | [`RoomHandle::upgrade`], [`Upgrade`] |
//! | calls, and their repetition | [`Call`], [`FunctionCall`] |
//! | several rooms at a time, and one large room | [`Federate`], [`Federated`]; [`Shards`] |
//! | a Worker that is a peer itself | [`RoomSocket`], [`Incoming`]; the frames as they are: [`RawSocket`] |
//! | errors | [`Error`], [`ErrorKind`] |
//!
//! ## In a test
//!
//! The module `testing` runs rooms natively, and is not there for WebAssembly.
#![cfg_attr(
    not(target_arch = "wasm32"),
    doc = "It has [`TestRoom`](testing::TestRoom), [`TestPeer`](testing::TestPeer), and for several rooms [`World`](testing::World)."
)]
//!
//! ## Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `sqlite` | [`Sql`] in native tests, over a real SQLite; on Cloudflare it is always there |
//! | `bindings` | the module [`bindings`]: TypeScript, a JSON Schema and an AsyncAPI document of a room, in its tests |
//! | `garde` | the option `validate` of [`#[room]`](macro@room), and the crate [`garde`] |
//! | `tracing` | spans and events of the crate `tracing`, for a subscriber of your own |
//! | `logs` | the module [`logs`]: a subscriber that writes JSON for Workers Logs; it turns `tracing` on |
//!
//! # The crate `worker`
//!
//! `Env`, `Request`, `Response` and `Error` of [`worker`] are in this crate's interface, and [`worker`] is also exported from
//! here. This crate accepts `worker` 0.8, from 0.8.7. Its JavaScript is written for the code that `worker-build` and
//! `wasm-bindgen` generate for this series, so a later series needs a later release of this crate. If the generated code
//! has another form, the Worker fails at its start, and the error lists the differences.
//!
//! A crate with a room has its own dependency `worker = "0.8"`, under that name, because `#[room]` and
//! `#[event(fetch)]` write `::worker` into it. Cargo uses one release of 0.8 for both crates. With another series, such as
//! `worker = "0.7"`, both are in the build, and no room compiles: rustc reports several errors at `#[room]`, with the note
//! "there are multiple different versions of crate `worker` in the dependency graph". A crate without rooms, for example
//! with helpers for handlers, can use the types of `room_runtime::worker` and needs no dependency of its own.
//!
// The links of the index to what this build does not have.
#![cfg_attr(
    not(feature = "bindings"),
    doc = "[`bindings`]: https://docs.rs/room-runtime/latest/room_runtime/bindings/"
)]
#![cfg_attr(not(feature = "garde"), doc = "[`garde`]: https://docs.rs/garde")]
#![cfg_attr(not(feature = "logs"), doc = "[`logs`]: https://docs.rs/room-runtime/latest/room_runtime/logs/")]
#![deny(missing_docs)]
// A panic ends the running work of every room of the isolate, so nothing that arrives may reach one. A place that cannot
// fail, and cannot be written so that the compiler sees it, states its reason with `expect`.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::get_unwrap,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::panic_in_result_fn,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod api;
#[cfg(feature = "bindings")]
pub mod bindings;
mod engine;
mod object;
mod platform;
#[cfg(not(target_arch = "wasm32"))]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::string_slice,
    clippy::unreachable,
    reason = "a panic is how the test kit tells a developer of a mistake in a test"
)]
pub mod testing;
mod types;
mod wire;

pub use room_macros::{data, room};

#[cfg(feature = "logs")]
pub use crate::api::logs;
pub use crate::{
    api::{
        calls::{CallError, FunctionCall, OrFailure},
        client::{Call, RoomClient, RoomHandle},
        context::RoomContext,
        federate::{Federate, Federated},
        json::{Json, query},
        peer::{Peer, Peers, Presence},
        raw_socket::{RawFrame, RawSocket},
        room::Room,
        room_socket::{Incoming, RoomSocket},
        schedule::{HandlesAlarms, Schedule},
        sibling::{HandlesUndelivered, Sibling, SiblingCall},
        sql::{RowOutcome, Sql, SqlParameter, SqlParameters},
        undelivered::Undelivered,
        upgrade::{Reject, Upgrade, UpgradeRequest},
    },
    platform::{
        sql::SqlValue,
        transport::{Jurisdiction, LocationHint},
    },
    types::{
        close::{Close, CloseCode},
        codec::{Codec, Codecs},
        decode_error::{DecodeError, DecodeReason},
        delivery::Delivery,
        error::{Error, ErrorKind, Failure},
        handler_error::HandlerError,
        id::{PeerId, RoomId},
        limits::{Limits, OnInvalid, RateLimit, RateLimitBy, Replay},
        peer_info::PeerInfo,
        schedule::{ScheduleId, SystemFailure},
        shards::{ShardIds, Shards},
        stats::Stats,
        upgrade::{OnDuplicate, OnResume},
        violations::{Violation, Violations},
    },
    wire::{SUBPROTOCOL, SUBPROTOCOL_MSGPACK},
};

/// The body type of `on_request`, in its request and in its response, and the frames of `on_binary`.
pub use bytes::Bytes;
/// The crate whose rules the option `validate` of `#[room]` checks, with the feature `garde`.
///
/// Its derive writes `::garde`, so a crate with rules has its own dependency `garde = "0.23"`, of the same series.
#[cfg(feature = "garde")]
pub use garde;
pub use http;
/// The JSON types: `migrate` gets the stored state as a `serde_json::Value`.
pub use serde_json;
/// The crate whose types a Worker uses with this one.
pub use worker;

/// The names that a room and a Worker use: `use room_runtime::prelude::*;`.
///
/// Import it together with `use worker::*;`: the two have no name in common.
pub mod prelude {
    pub use crate::{
        Bytes, CallError, Close, CloseCode, DecodeError, Delivery, ErrorKind, Failure, HandlerError, Json, OnDuplicate,
        OnResume, OrFailure, PeerId, PeerInfo, Reject, RoomHandle, RoomId, ScheduleId, SqlValue, Undelivered, Upgrade,
        data, http, room, serde_json,
    };
}

/// The items that code generated by the macros refers to. They are not public API and change without notice.
#[doc(hidden)]
pub mod __private {
    pub use core::concat;
    pub use core::{
        clone::Clone,
        cmp::PartialEq,
        fmt::Debug,
        marker::Copy,
        option::Option::{self, Some},
        result::Result::{self, Ok},
    };
    pub use std::{prelude::rust_2024 as prelude, string::String, vec::Vec};

    #[cfg(feature = "bindings")]
    pub use schemars;
    pub use serde;
    pub use worker;

    pub use crate::{
        api::calls::{
            CallEntry, CallReturn, Caller, CallerError, ErrorOf, IsResult, NoResult, Plain, RoomCall, ValueOf,
            WorkerCaller,
        },
        api::client::ClientClock,
        api::outcome::{
            AlarmParameter, BytesParameter, CloseParameter, CostOutcome, CostedEventParameter, CtxParameter,
            DecodeErrorParameter, EnvParameter, EventParameter, HandlerErrorParameter, InitOutcome, InitialState,
            Missing, Outcome, PeerParameter, RequestOutcome, RequestParameter, ServicesOutcome, UndeliveredParameter,
            UpgradeOutcome, UpgradeParameter, UserParameter, ValueParameter, VersionParameter,
        },
        api::rules::Validated,
        object::cloudflare::{Object, install},
        wire::json::tagged::{Tagged, deserialize_tagged},
    };

    #[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
    pub use crate::object::bench::Engine;
    #[cfg(all(feature = "fuzz", not(target_arch = "wasm32")))]
    pub use crate::testing::fuzz;
}
