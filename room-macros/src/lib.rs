//! The macros of `room-runtime`: `#[room]` and `#[data]`. Use them through that crate.
//!
//! The macro works in three phases. `parse` reads tokens and makes no semantic errors. `check` is the only place that
//! makes semantic errors; it returns the validated `model`. `expand` takes the model and cannot fail. The expansion
//! contains no behaviour: each generated body is one call into the runtime.

#![forbid(unsafe_code)]
// A macro answers wrong input with a compile error, and never with a panic.
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

mod args;
mod attrs;
mod bindings;
mod calls;
mod check;
mod data;
mod diag;
mod expand;
mod model;
mod options;
mod parse;
#[cfg(test)]
mod tests;
mod twin;

use proc_macro::TokenStream;

use crate::parse::Annotated;

/// Turns a module into a room.
///
/// The module must contain four schemas. Each is a `pub` `struct`, `enum`, type alias or re-export; `pub use types::*`
/// also counts:
///
/// - `State`: the stored state of the room. It starts as `State::default()`, unless there is a handler `init`.
/// - `Connection`: the stored data of one peer.
/// - `Event`: the messages that peers and the Worker may send.
/// - `Broadcast`: the messages that the room sends to its peers.
///
/// The module may contain two more schemas:
///
/// - `Alarm`: the data of a scheduled alarm. It needs the handler `on_alarm`. Without it the alarm's data is `()`.
/// - `Services`: the outside resources that the handlers use. The handler `services` makes it, and it can be any type.
///
/// Every schema except `Services` gets [`#[data]`](macro@data). An `enum` schema is written as `{"type": "Say", …}`,
/// even if all its variants are unit variants, unless it chooses another form with a serde tagging or with
/// `#[data(externally_tagged)]`. A re-exported type keeps the form of its own `#[data]`.
///
/// # Handlers
///
/// Handlers are plain functions, `fn` or `async fn`. Each is optional and, except `event_cost`, returns `()` or a
/// `Result`. They are listed in the order of a room's life:
///
/// | handler | when |
/// |---|---|
/// | `init(ctx: &Ctx) -> Result<State>` | once in the life of a room, when its state is first needed; no `async fn` |
/// | `migrate(version: u32, state: serde_json::Value) -> Result<State>` | when the room reads a state stored under a lower version than the option `state_version`: the handler returns the state of the current version; no `async fn` |
/// | `services(env: &worker::Env) -> Result<Services>` | once each time the object is loaded into memory, if the room has a type `Services`; no `async fn` |
/// | `on_start(ctx: &Ctx)` | once each time the object is loaded into memory, before it handles anything else |
/// | `on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject>` | before a socket is accepted: to authorise, to change the peer's data, id and tags, or to refuse |
/// | `on_connect(ctx: &Ctx, peer: &Peer)` | once per socket, before its first event |
/// | `on_join(ctx: &Ctx, user: &PeerId)` | for the first connection of a peer id, after its `on_connect` and before its first event |
/// | `on_resume(ctx: &Ctx, peer: &Peer)` | in place of `on_connect`, when a peer that lost its connection reconnects within the option `reconnect_grace` |
/// | `event_cost(event: &Event) -> u32` | before `on_event`, for an event of a peer: the number of tokens that it takes from the option `rate_limit`, which the handler needs; no `async fn` |
/// | `on_event(ctx: &Ctx, event: Event)` | an event from a peer, or from the Worker |
/// | `on_binary(ctx: &Ctx, bytes: Bytes)` | a binary frame of a peer, in a room that speaks JSON; without this handler it is not an event |
/// | `on_away(ctx: &Ctx, peer: &Peer)` | when a peer loses its connection; if it reconnects within the option `reconnect_grace`, `on_resume` runs, otherwise `on_close` |
/// | `on_close(ctx: &Ctx, peer: &Peer, close: Close)` | once per connected peer; for a peer that lost its connection, after the option `reconnect_grace` has passed |
/// | `on_leave(ctx: &Ctx, user: &PeerId)` | after the last connection of a peer id, after its `on_close`; not while the peer can still reconnect |
/// | `on_alarm(ctx: &Ctx)` | when an alarm set with `ctx.schedule(())` is due, if the room has no type `Alarm` |
/// | `on_alarm(ctx: &Ctx, alarm: Alarm)` | when an alarm set with `ctx.schedule(alarm)` is due, if the room has a type `Alarm` |
/// | `on_undelivered(ctx: &Ctx, undelivered: &Undelivered)` | when a durable call to another room was given up, after the option `outbox_timeout` or because the other room refused |
/// | `on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>>` | an HTTP request that the Worker forwards; without this handler the answer is 404 |
/// | `on_decode_error(ctx: &Ctx, error: &DecodeError)` | a frame that is not an `Event` |
/// | `on_error(ctx: &Ctx, error: &HandlerError)` | when any other handler returned an error |
///
/// # Calls
///
/// A function with `#[call]` can be called by clients of the protocol `room.v1`, by the Worker and by other rooms:
///
/// ```text
/// #[call]
/// pub async fn rename(ctx: &Ctx, name: String) -> Result<u64, RenameError> { … }
/// ```
///
/// It is a `fn` or an `async fn` with `ctx: &Ctx` and then any arguments, which clients give by name. `ctx.sender()` is the peer that
/// calls; `None` for the Worker and for another room. It returns
///
/// - a value, or nothing;
/// - `Result<T>`: the caller of a failed function gets a message, as the sender of an event does;
/// - `Result<T, E>` with a `#[data]` type `E`: the caller gets the error as a value;
/// - `Result<T, OrFailure<E>>`: both, so that `?` works on the errors of the room too.
///
/// The types of the arguments, of the value and of `E` are serializable, by `#[data]` for types of one's own. A call of a peer has the
/// limits of an event, takes one token of the option `rate_limit`, and is handled in order with the peer's events. It runs once, also if the client sends it again
/// after a lost connection: its answer is stored with its number, and has at most 1,000,000 bytes of JSON.
///
/// `#[call(worker)]` is for the Worker and other rooms only. A peer that calls it gets the error for a function that does not exist.
///
/// The macro adds a trait `Calls` with a method for each function. Import it to call them:
/// `use chat::Calls; rooms.room("main").rename("Ada".into()).await?`. A test calls them on the `TestRoom` and on a `TestPeer`. The calls
/// of a Worker take an [idempotency key](https://docs.rs/room-runtime).
///
/// # Generated items
///
/// The macro adds `Room`, the marker type of the room, the Durable Object class and, for a room with calls, the trait `Calls`. It also adds `Ctx`, `Peer`,
/// `UpgradeRequest`, `RoomClient` and `Result`: aliases of the runtime's types for this room. An item or import of the
/// same name replaces an alias. Everything else in the module stays unchanged.
///
/// `ctx.schedule(…)` needs a handler `on_alarm`. Without it the call is a compile error, because the alarm would never
/// fire.
///
/// `ctx.room::<…>(…)?.send(…).durably()` needs a handler `on_undelivered`. Without it the call is a compile error, because
/// a call that cannot be delivered would be lost.
///
/// A handler is a `fn` at the top level of the module. A handler in an `impl`, in an inner module or in the tokens of a
/// macro call is an error. `#[room]` cannot see a handler that comes from a glob import or exists only in the expansion
/// of a macro call: such a function never runs. All errors are reported in one run, and the rest of the crate is
/// compiled as if the room were correct.
///
/// # Options
///
#[doc = include_str!("options.md")]
///
/// The `watchdog` is an alarm. It is set while the room has peers, in a room with `on_close`, `on_join`, `on_leave`,
/// `reconnect_grace` or `purge_after`. Each of these alarms costs one request and one written row: at 5 minutes about 9,000 of each a month
/// for a room that is never empty.
///
/// With a `peer_timeout`, clients have to send the `heartbeat` two or three times within it. An alarm looks for silent
/// peers while peers are connected; a timeout of less than about 15 seconds keeps the room awake.
#[proc_macro_attribute]
pub fn room(args: TokenStream, item: TokenStream) -> TokenStream {
    room_impl(args.into(), item.into()).into()
}

/// Makes a type serializable, for messages and storage.
///
/// The macro derives `Serialize` and `Deserialize` through the runtime's own serde, and `Clone`, `Debug` and
/// `PartialEq`. With the feature `bindings` of the runtime it also derives `schemars::JsonSchema`; without it, it removes
/// attributes `#[schemars(…)]`.
///
/// A `struct` is written as an object of its fields. An `enum` is written like a schema, with the variant's name in the
/// key `type`. An `enum` of unit variants only is written as a string, and can be the key of a map:
///
/// | type | JSON |
/// |---|---|
/// | `struct Note { text: String }` | `{"text": "…"}` |
/// | `enum Shape { Circle { radius: f64 }, Empty }` | `{"type": "Circle", "radius": 1.0}`, `{"type": "Empty"}` |
/// | `enum Color { Red, Blue }` | `"Red"`, `"Blue"` |
///
/// Adding the first variant with fields to such an `enum` changes its JSON form. If such values are already stored, or
/// if clients know them, choose a stable form from the beginning: `#[data(tag = "type")]` or
/// `#[data(externally_tagged)]`.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `tag = "_tag"` | the JSON key of the variant's name, also for an `enum` of unit variants only |
/// | `externally_tagged` | serde's default form, which allows tuple variants: `{"Circle": {"radius": 1.0}}`, `{"Circle": 1.0}`, `"Empty"` |
/// | `skip(PartialEq)` | omits the named derives |
/// | `crate = "room_runtime"` | the path of the runtime, if it is reached through another crate |
///
/// The macro omits derives that the type has itself. An `enum` keeps its form if it derives both of serde's traits
/// itself, or has its own tagging such as `#[serde(untagged)]`.
#[proc_macro_attribute]
pub fn data(args: TokenStream, item: TokenStream) -> TokenStream {
    data::attribute(args.into(), item.into()).into()
}

fn room_impl(args: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let (written, mut errors) = args::parse(args);
    let module = match parse::module(item.clone()) {
        Ok(Annotated::Module(module)) => module,
        Ok(Annotated::WithoutBody(module, tokens)) => {
            let (sketch, errors) = check::without_body(module, tokens, &written, errors);
            return expand::sketch(&sketch, &errors);
        }
        Err(error) => {
            errors.push(error);
            return expand::rejected(&item, &errors);
        }
    };
    match check::check(module, &written, errors) {
        Ok(room) => expand::room(&room),
        Err(rejected) => expand::sketch(&rejected.0, &rejected.1),
    }
}
