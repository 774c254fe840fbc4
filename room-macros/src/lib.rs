//! `#[room]` and `#[data]`, the macros of `room-runtime`. Use them from there.
//!
//! Three phases, each a barrier: `parse` reads tokens and judges nothing; `check` is the only place that makes
//! semantic errors, and returns the validated `model`; `expand` takes that and cannot fail. No behaviour is
//! generated: bodies are one call into the runtime.

mod args;
mod attrs;
mod check;
mod data;
mod diag;
mod expand;
mod model;
mod parse;
#[cfg(test)]
mod tests;
mod twin;

use proc_macro::TokenStream;

use crate::parse::Annotated;

/// Makes a module a room.
///
/// The module holds four schemas, each a `pub` `struct`, `enum`, type alias or re-export, by `pub use types::*` as well:
///
/// - `State`: what the room remembers. It starts as `State::default()`, unless there is a handler `init`.
/// - `Connection`: what the room remembers about one peer.
/// - `Event`: what peers, and the Worker, may say.
/// - `Broadcast`: what the room says to its peers.
///
/// and may hold two more:
///
/// - `Alarm`: what a scheduled alarm carries. It needs the handler `on_alarm`. Without it there is one kind of alarm, `()`.
/// - `Services`: what the handlers use of the world outside. It is made by the handler `services`, and can be any type.
///
/// All but `Services` are given [`#[data]`](macro@data). An `enum` among them is written as `{"type": "Say", …}`, also one of
/// unit variants only, unless it chooses another form with a serde tagging or with `#[data(externally_tagged)]`. A re-exported
/// type has the form that its own `#[data]` gives it.
///
/// # Handlers
///
/// They are plain functions, `fn` or `async fn`, each optional, that return `()` or a `Result`. In the order of a room's
/// life:
///
/// | handler | when |
/// |---|---|
/// | `init(ctx: &Ctx) -> Result<State>` | once in the life of a room, when its state is first needed; no `async fn` |
/// | `migrate(version: u32, state: serde_json::Value) -> Result<State>` | a state stored under a lower version than the option `state_version` is read: it gives the state of this one; no `async fn` |
/// | `services(env: &worker::Env) -> Result<Services>` | once each time the object comes into memory, when the room has a type `Services`; no `async fn` |
/// | `on_start(ctx: &Ctx)` | once each time the object comes into memory, before anything else it handles |
/// | `on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject>` | before a socket is accepted: to authorise, to change the peer's data, id and tags, to refuse |
/// | `on_connect(ctx: &Ctx, peer: &Peer)` | once per socket, before its first event |
/// | `on_resume(ctx: &Ctx, peer: &Peer)` | in place of `on_connect`: a peer that lost its connection is back within the option `reconnect_grace` |
/// | `on_event(ctx: &Ctx, event: Event)` | an event from a peer, or from the Worker |
/// | `on_away(ctx: &Ctx, peer: &Peer)` | a peer has lost its connection, and has the time of the option `reconnect_grace` to come back: then `on_resume` follows, and otherwise `on_close` |
/// | `on_close(ctx: &Ctx, peer: &Peer, close: Close)` | once per connected peer; of one that lost its connection, when the option `reconnect_grace` is over |
/// | `on_alarm(ctx: &Ctx)` | an alarm that `ctx.schedule(())` set is due, when the room has no type `Alarm` |
/// | `on_alarm(ctx: &Ctx, alarm: Alarm)` | an alarm that `ctx.schedule(alarm)` set is due, when it has one |
/// | `on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>>` | HTTP that the Worker forwards; without it the answer is 404 |
/// | `on_decode_error(ctx: &Ctx, error: &DecodeError)` | a frame that is not an `Event` |
/// | `on_error(ctx: &Ctx, error: &HandlerError)` | any other handler returned an error |
///
/// # What the module gains
///
/// `Room`, the marker type of the room; `Ctx`, `Peer`, `UpgradeRequest`, `RoomClient` and `Result`, aliases of the runtime's
/// types for this room, each of which gives way to an item or import of that name; and the Durable Object class.
/// Everything else in the module stays as it is.
///
/// `ctx.schedule(…)` needs a handler `on_alarm`: without one it is an error, as the alarm would never fire.
///
/// A handler is a `fn` that is written at the top level of the module. One in an `impl`, an inner module or the tokens of a macro
/// call is an error, but `#[room]` cannot see a handler that a glob import brings, or that only the expansion of a macro call
/// has: such a function never runs. While something is wrong, all that is wrong is reported in one run, and the rest of the
/// crate is compiled as if it were right.
///
/// # Options
///
/// | option | default | meaning |
/// |---|---|---|
/// | `binding = "CHAT"` | the module's name in capitals | the Durable Object binding in the Worker's configuration, which no other room of the crate has |
/// | `class = "ChatRoom"` | the module's name in PascalCase, with `Room` | the Durable Object class: a name that JavaScript can export, and no other room of the crate has |
/// | `tag = "type"` | `"type"` | the key that says which variant a message is, of the `enum` schemas that are written in the module: other types say their own with `#[data(tag = "…")]` |
/// | `max_peers = 50` | 1,000 | the most peers at once, up to 32,768: Cloudflare's limit |
/// | `max_message_bytes = 65536` | 1 MiB | the largest frame of a peer, up to 32 MiB: Cloudflare's limit |
/// | `max_unread_bytes = 1048576` | 16 MiB | how much may be sent to a peer that does not read, up to 128 MiB: the object's memory |
/// | `rate_limit(burst = 10, per_second = 2)` | any rate | how many frames of a peer may come at once, and how many more each second; `per_second` can be a fraction |
/// | `on_invalid = "report"` | `"report"` | what becomes of a frame that is not an `Event`: its sender is told, it is ignored (`"ignore"`), or the connection is closed (`"close"`) |
/// | `heartbeat("ping", "pong")` | `("ping", "pong")` | a text frame, and the one that the platform answers it with, without waking the room: up to 2,048 bytes each, Cloudflare's limit |
/// | `state_version = 1` | 0 | the version of the type `State`, up to 4,294,967,295; with it comes the handler `migrate`, for what is stored under a lower one |
/// | `reconnect_grace = "10s"` | none | how long a peer that lost its connection keeps its place before `on_close`, from 1 s to 1 h |
/// | `purge_after = "30d"` | never | how long a room that everyone has left is kept before it is purged, from 1 s to 3,650 d |
/// | `batch = "20ms"` | each at once | how long a message may wait for others to leave in one frame, to peers that speak the subprotocol `room.v1`, from 1 ms to 1 s |
/// | `watchdog = "5m"` | `"5m"` | how late the loss of a peer is noticed after a restart or a deploy if nobody visits the room, from 1 s to 1 d |
/// | `crate = "room_runtime"` | as in `Cargo.toml` | the path of the runtime, where it is reached through another crate |
///
/// A time is a whole number and one unit: `ms`, `s`, `m`, `h` or `d`.
///
/// The `watchdog` is an alarm that stands while there are peers whose end matters: in a room with `on_close`, with
/// `reconnect_grace` or with `purge_after`. Each of these alarms costs one request and one written row: at 5 minutes about
/// 9,000 of each a month for a room that is never empty.
#[proc_macro_attribute]
pub fn room(args: TokenStream, item: TokenStream) -> TokenStream {
    room_impl(args.into(), item.into()).into()
}

/// Makes a type one that travels or is stored: it derives `Serialize` and `Deserialize` through the runtime's own serde,
/// `Clone`, `Debug` and `PartialEq`.
///
/// A `struct` is written as an object of its fields. An `enum` is written as a schema is, with the variant's name in the key
/// `type`; an `enum` of unit variants only is written as a string, and can be the key of a map:
///
/// | type | JSON |
/// |---|---|
/// | `struct Note { text: String }` | `{"text": "…"}` |
/// | `enum Shape { Circle { radius: f64 }, Empty }` | `{"type": "Circle", "radius": 1.0}`, `{"type": "Empty"}` |
/// | `enum Color { Red, Blue }` | `"Red"`, `"Blue"` |
///
/// The first variant with fields changes the form of an `enum` that had none. Where such values are stored already, or clients
/// know them, choose a form that stays: `#[data(tag = "type")]` from the beginning, or `#[data(externally_tagged)]`.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `tag = "_tag"` | the key that says the variant, also of an `enum` of unit variants only |
/// | `externally_tagged` | serde's default form, which has a place for tuple variants: `{"Circle": {"radius": 1.0}}`, `{"Circle": 1.0}`, `"Empty"` |
/// | `skip(PartialEq)` | leaves some of the derives out |
/// | `crate = "room_runtime"` | the path of the runtime, where it is reached through another crate |
///
/// What the type derives itself is left out, and an `enum` that derives both of serde's traits itself, or has a tagging of its
/// own such as `#[serde(untagged)]`, keeps its form.
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
