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

use proc_macro::TokenStream;

use crate::parse::Annotated;

/// Makes a module a room.
///
/// The module holds four schemas, each a `struct`, an `enum`, a type alias or a re-export:
///
/// - `State`: what the room remembers. It starts as `State::default()`.
/// - `Connection`: what the room remembers about one peer.
/// - `Event`: what peers, and the Worker, may say.
/// - `Broadcast`: what the room says to its peers.
///
/// They are given [`#[data]`](macro@data); an `enum` among them that chooses no serde tagging of its own is written as
/// `{"type": "Say", …}`.
///
/// Its handlers are plain functions, `fn` or `async fn`, each optional, that return `()` or a `Result`:
///
/// - `on_start(ctx: &Ctx)`: once each time the object comes into memory, before anything else.
/// - `on_connect(ctx: &Ctx, peer: &Peer)`: once per socket.
/// - `on_event(ctx: &Ctx, event: Event)`: an event from a peer, or from the Worker.
/// - `on_close(ctx: &Ctx, peer: &Peer, close: Close)`: once per connected peer.
/// - `on_alarm(ctx: &Ctx)`: an alarm that `ctx.schedule(())` set is due.
///
/// The module gains `Room`, the marker type of the room; `Ctx`, `Peer`, `RoomClient` and `Result`, aliases of the
/// runtime's types for this room, each of which gives way to an item or import of that name; and the Durable Object
/// class. Everything else in the module stays as it is.
///
/// # Options
///
/// | option | default | meaning |
/// |---|---|---|
/// | `binding = "CHAT"` | the module's name in capitals | the Durable Object binding in the Worker's configuration |
/// | `class = "ChatRoom"` | the module's name in PascalCase, with `Room` | the Durable Object class |
/// | `tag = "type"` | `"type"` | the key that says which variant of an `enum` schema a message is |
/// | `crate = "room_runtime"` | `room_runtime` | the runtime's name in `Cargo.toml` |
#[proc_macro_attribute]
pub fn room(args: TokenStream, item: TokenStream) -> TokenStream {
    room_impl(args.into(), item.into()).into()
}

/// Makes a type one that travels or is stored: it derives `Serialize` and `Deserialize` through the runtime's own serde,
/// `Clone`, `Debug` and `PartialEq`.
///
/// What the type derives itself is left out, and so is what is listed: `#[data(skip(PartialEq))]`.
#[proc_macro_attribute]
pub fn data(args: TokenStream, item: TokenStream) -> TokenStream {
    data::attribute(args.into(), item.into()).into()
}

fn room_impl(args: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let (args, mut errors) = args::parse(args);
    let module = match parse::module(item.clone()) {
        Ok(Annotated::Module(module)) => module,
        Ok(Annotated::WithoutBody(module, tokens)) => {
            let message = format!("`#[room]` needs the module's body here\nwrite `mod {} {{ … }}`", module.ident);
            errors.on(tokens, message);
            return expand::sketch(&check::empty(module, &args), &errors);
        }
        Err(error) => {
            errors.push(error);
            return expand::rejected(&item, &errors);
        }
    };
    match check::check(module, args, errors) {
        Ok(room) => expand::room(&room),
        Err(rejected) => expand::sketch(&rejected.0, &rejected.1),
    }
}
