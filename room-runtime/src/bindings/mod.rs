//! Types for the clients of a room: TypeScript, a JSON Schema and an AsyncAPI document, from the room's own types.
//!
//! With the feature `bindings`, [`#[room]`](macro@crate::room) and [`#[data]`](macro@crate::data) also derive
//! [`schemars::JsonSchema`], and a test keeps the generated files next to the room. The feature belongs in
//! `[dev-dependencies]`, so that no Worker contains any of it:
//!
//! ```toml
//! [dev-dependencies]
//! room-runtime = { version = "0.1", features = ["bindings"] }
//! ```
//!
//! ```no_run
//! # mod chat {
//! #     use room_runtime::prelude::*;
//! #     #[room]
//! #     pub mod chat {
//! #         #[derive(Default)]
//! #         pub struct State {}
//! #         pub struct Connection {}
//! #         pub struct Event {}
//! #         pub struct Broadcast {}
//! #     }
//! #     pub use chat::*;
//! # }
//! #[test]
//! fn the_page_has_the_types_of_the_room() {
//!     room_runtime::bindings::check::<chat::Room>("page/src/chat.ts");
//! }
//! # fn main() {}
//! ```
//!
//! The test fails if the file is missing or stale. `UPDATE_BINDINGS=1 cargo test` writes it.
//!
//! # The three forms
//!
//! | file | content |
//! |---|---|
//! | `….ts` | TypeScript: an interface with the name of the room, and every type that it needs |
//! | `….asyncapi.json` | an AsyncAPI 3.0 document with the messages and calls of the room |
//! | `….json` | a JSON Schema (2020-12). `#/$defs/Event` is the schema of an event |
//!
//! All of them come from the schemas of [`schemars`], which knows serde's attributes and its two directions. ts-rs and
//! specta make TypeScript only and do not distinguish the directions, and a second source for the JSON Schema could
//! disagree with it.
//!
//! # Directions
//!
//! `Event` and the arguments of a call are what a client sends: a field with `#[serde(default)]` can be missing.
//! `Broadcast`, `State`, `Connection` and the result of a call are what it receives: a field is missing only if the type
//! has `#[serde(skip_serializing_if)]`. A type that is used in both directions and differs has two names, `Note` for what is
//! received and `NoteInput` for what is sent.
//!
//! # Values
//!
//! | Rust | TypeScript |
//! |---|---|
//! | `u64`, `i64`, `usize`, `isize` | `number`, documented as an integer of at most 9007199254740991, the largest that a number of JavaScript holds with its neighbours. The JSON Schema has the same `maximum` |
//! | `u128`, `i128` | an error that names the field |
//! | `Option<T>` | `T \| null`, and `field?` where the field can be missing |
//! | `Vec<u8>`, a field with `#[serde(with = "serde_bytes")]` | `number[]` in a room that speaks JSON, `Uint8Array` in one that speaks MessagePack, and both in a room with both codecs |
//! | `HashMap<u32, T>` | an object with the numbers as keys: `{ [key: number]: T }` |
//! | `serde_json::Value` | `unknown` |
//! | an `enum` without variants | `never` |
//!
//! The types of a generic type are numbered, `Page` and `Page2`, unless it names them: `#[schemars(rename = "{T}Page")]`.
//!
//! The JSON Schema and the AsyncAPI document describe the JSON form, in which bytes are a list of numbers.
//!
//! # Types of other crates
//!
//! A field needs a type with `JsonSchema`; `#[data]` types have it. Many crates have it by a
//! [feature of `schemars`](https://graham.cool/schemars/features/), for example `uuid1`: add `schemars` with the feature to
//! `[dev-dependencies]`. For other types, and for fields with `#[serde(with = "…")]`, a type with the same JSON form serves:
//! `#[schemars(with = "String")]`. Without the feature `bindings` the macros remove this attribute. `#[data(skip(JsonSchema))]`
//! omits the derive, and an own derive or `impl` replaces it.
//!
//! A room with a schema without `JsonSchema` compiles, and only its bindings do not. Cargo unifies features: in a workspace,
//! `cargo test --workspace` derives `JsonSchema` in every member if one member has this feature.

mod asyncapi;
mod contract;
mod file;
mod merge;
mod own;
mod schema;
mod typescript;

pub use schemars;
use schemars::JsonSchema;
use serde_json::Value;

pub use self::{
    contract::{ByteArray, Calls, DescribedCall},
    file::check,
};
use crate::Room;

/// A room whose schemas all have a JSON Schema.
///
/// Every such room implements this trait. The lifetime has no meaning: it lets `#[room]` ask for the schemas only where a
/// room is described.
///
/// ```
/// use room_runtime::{bindings::Described, prelude::*};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub struct Broadcast {}
///     // The schemas and handlers of the room are here.
/// }
///
/// /// Compiles for each room whose types all have a `JsonSchema`.
/// fn has_schemas<R: for<'a> Described<'a>>() {}
///
/// # fn main() {
/// has_schemas::<chat::Room>();
/// # }
/// ```
pub trait Described<'a>:
    Room<Event: JsonSchema, Broadcast: JsonSchema, State: JsonSchema, Connection: JsonSchema>
{
}

impl<R> Described<'_> for R where
    R: Room<Event: JsonSchema, Broadcast: JsonSchema, State: JsonSchema, Connection: JsonSchema>
{
}

/// A room that can be described to its clients. [`#[room]`](macro@crate::room) implements it with the feature `bindings`.
///
/// A room that is written by hand implements it:
///
/// ```
/// use room_runtime::bindings::{self, Describe};
/// # use room_runtime::{Failure, Room, RoomContext};
/// # enum Echo {}
/// # impl Room for Echo {
/// #     const NAME: &'static str = "echo";
/// #     const BINDING: &'static str = "ECHO";
/// #     const CLASS: &'static str = "EchoRoom";
/// #     type State = ();
/// #     type Connection = ();
/// #     type Event = String;
/// #     type Broadcast = String;
/// #     type Alarm = ();
/// #     type Services = ();
/// #     fn init(_: &RoomContext<Self>) -> Result<(), Failure> { Ok(()) }
/// #     fn services(_: &worker::Env) -> Result<(), Failure> { Ok(()) }
/// # }
///
/// impl Describe for Echo {
///     const DOC: &'static str = "A room that sends each text back.";
/// }
///
/// # fn main() -> Result<(), bindings::BindingsError> {
/// let types = bindings::typescript::<Echo>()?;
/// assert!(types.contains("A room that sends each text back."));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "the room `{Self}` does not describe itself",
    label = "bindings need a room that implements `Describe`",
    note = "`#[room]` implements it with the feature `bindings` of `room-runtime`",
    note = "for a room written by hand: `impl room_runtime::bindings::Describe for {Self} {{}}`"
)]
pub trait Describe: for<'a> Described<'a> {
    /// The documentation of the room.
    const DOC: &'static str = "";

    /// Adds the calls that clients can make.
    fn calls(calls: &mut Calls) {
        let _ = calls;
    }
}

/// The reasons why a room has no bindings, from [`typescript`], [`json_schema`] and [`async_api`].
///
/// The text names the field of each type that JavaScript has no value for.
///
/// ```
/// use room_runtime::{bindings, prelude::*};
///
/// #[room]
/// pub mod bank {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Broadcast {}
///     pub enum Event {
///         Pay { cents: u128 },
///     }
///     // The other schemas and the handlers are here.
/// }
///
/// # fn main() {
/// let error = bindings::typescript::<bank::Room>().expect_err("no number of JavaScript is as large");
/// assert!(error.to_string().contains("is an integer of 128 bits"), "{error}");
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingsError {
    room: &'static str,
    faults: Vec<String>,
}

impl std::fmt::Display for BindingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the room `{}` has types that JavaScript has no value for:", self.room)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for BindingsError {}

/// Returns the TypeScript types of a room.
///
/// # Errors
/// A type of the room contains an integer of 128 bits.
pub fn typescript<R: Describe>() -> Result<String, BindingsError> {
    Ok(typescript::write(&contract::of::<R>()?))
}

/// Returns the JSON Schema of a room. Each type is in `$defs`.
///
/// # Errors
/// A type of the room contains an integer of 128 bits.
pub fn json_schema<R: Describe>() -> Result<Value, BindingsError> {
    Ok(schema::write(&contract::of::<R>()?))
}

/// Returns the AsyncAPI 3.0 document of a room.
///
/// # Errors
/// A type of the room contains an integer of 128 bits.
pub fn async_api<R: Describe>() -> Result<Value, BindingsError> {
    Ok(asyncapi::write(&contract::of::<R>()?))
}
