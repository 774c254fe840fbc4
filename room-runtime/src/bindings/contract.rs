//! [`Contract`]: the types of a room as both sides of a connection see them, read from the schemas of `schemars`.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value};

use super::{
    BindingsError, Describe,
    merge::{self, Half},
    schema,
};
use crate::{
    Codec,
    api::calls::{CallerError, ErrorOf, Never, RoomCall, ValueOf},
};

/// The largest integer that a number of JavaScript holds exactly together with its neighbours.
pub(super) const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// The mark of a list of bytes, which MessagePack writes as one value. No document contains it.
pub(super) const BYTES: &str = "x-room-bytes";

/// The types of a room. A reference `#/$defs/Name` is to one of the definitions.
#[derive(Debug)]
pub(super) struct Contract {
    /// The name of the room.
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) codecs: &'static [Codec],
    pub(super) definitions: BTreeMap<String, Value>,
    pub(super) event: Value,
    pub(super) broadcast: Value,
    pub(super) state: Value,
    pub(super) connection: Value,
    pub(super) calls: Vec<Call>,
}

/// The types of a call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) args: Value,
    pub(super) result: Value,
    pub(super) error: Value,
}

impl Call {
    /// True if the function has errors of its own type.
    pub(super) fn has_error(&self) -> bool {
        self.error != Value::Bool(false)
    }
}

/// The calls of a room, while [`Describe::calls`] lists them.
///
/// `#[room]` adds each `#[call]`. A room that is written by hand adds its own:
///
/// ```
/// use room_runtime::bindings::{self, Calls, Describe};
/// # use room_runtime::{Failure, Room, RoomContext};
/// # enum Chat {}
/// # impl Room for Chat {
/// #     const NAME: &'static str = "chat";
/// #     const BINDING: &'static str = "CHAT";
/// #     const CLASS: &'static str = "ChatRoom";
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
/// #[derive(schemars::JsonSchema)]
/// struct Rename {
///     name: String,
/// }
///
/// #[derive(schemars::JsonSchema)]
/// enum RenameError {
///     Taken,
/// }
///
/// impl Describe for Chat {
///     fn calls(calls: &mut Calls) {
///         calls.add::<Rename, u32, RenameError>("rename", "Renames the user. Returns the number of names.");
///     }
/// }
///
/// # fn main() -> Result<(), bindings::BindingsError> {
/// assert!(bindings::typescript::<Chat>()?.contains("rename"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Calls {
    added: Vec<Added>,
}

#[derive(Debug)]
struct Added {
    name: &'static str,
    doc: &'static str,
    types: [fn(&mut SchemaGenerator) -> Schema; 3],
}

impl Calls {
    /// Adds a call with its documentation. `A` is the object of its arguments by name, `T` its result and `E` its own
    /// error.
    pub fn add<A: JsonSchema, T: JsonSchema, E: JsonSchema>(&mut self, name: &'static str, doc: &'static str) {
        let types = [
            SchemaGenerator::subschema_for::<A> as fn(&mut SchemaGenerator) -> Schema,
            SchemaGenerator::subschema_for::<T>,
            SchemaGenerator::subschema_for::<E>,
        ];
        self.added.push(Added { name, doc, types });
    }
}

impl Calls {
    /// Adds a function with `#[call]`, unless no peer can call it.
    #[doc(hidden)]
    pub fn add_call<'a, K: DescribedCall<'a>>(&mut self, doc: &'static str) {
        if K::BY_PEERS {
            self.add::<K, K::Value, K::Error>(K::NAME, doc);
        }
    }
}

/// A call whose arguments, value and error have a JSON Schema.
#[doc(hidden)]
pub trait DescribedCall<'a>: RoomCall + JsonSchema {
    type Value: JsonSchema;
    type Error: JsonSchema;
}

impl<K: RoomCall + JsonSchema> DescribedCall<'_> for K
where
    ValueOf<K>: JsonSchema,
    <ErrorOf<K> as CallerError>::Own: JsonSchema,
{
    type Value = ValueOf<K>;
    type Error = <ErrorOf<K> as CallerError>::Own;
}

impl JsonSchema for Never {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Never".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        false.into()
    }
}

/// The schema of bytes, for a field that serde writes as bytes: `#[schemars(with = "room_runtime::bindings::ByteArray")]`.
///
/// A field with `#[serde(with = "serde_bytes")]` has it without the attribute.
///
/// ```
/// use room_runtime::{bindings, prelude::*};
/// use serde_bytes::ByteBuf;
///
/// #[room(codec = "msgpack")]
/// pub mod canvas {
///     # use room_runtime::prelude::*;
///     # use serde_bytes::ByteBuf;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     pub enum Broadcast {
///         Pixels {
///             // A type of another crate without a `JsonSchema`.
///             #[schemars(with = "room_runtime::bindings::ByteArray")]
///             rgb: ByteBuf,
///         },
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert!(bindings::typescript::<canvas::Room>()?.contains("rgb: Uint8Array"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum ByteArray {}

impl JsonSchema for ByteArray {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteArray".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let byte = generator.subschema_for::<u8>();
        json_schema!({ "type": "array", "items": byte, BYTES: true })
    }
}

/// Reads the types of a room.
pub(super) fn of<R: Describe>() -> Result<Contract, BindingsError> {
    let mut calls = Calls::default();
    R::calls(&mut calls);
    // Both directions visit all types in one order, so that types of the same name get the same numbers.
    let half = |settings: SchemaSettings| {
        let mut generator = settings.into_generator();
        let mut roots = vec![
            generator.subschema_for::<R::Event>(),
            generator.subschema_for::<R::Broadcast>(),
            generator.subschema_for::<R::State>(),
            generator.subschema_for::<R::Connection>(),
        ];
        let types = calls.added.iter().flat_map(|call| call.types);
        roots.extend(types.map(|subschema| subschema(&mut generator)));
        let roots = roots.into_iter().map(Schema::to_value).collect();
        Half { definitions: generator.take_definitions(true).into_iter().collect(), roots }
    };
    let own =
        [R::Event::schema_name(), R::Broadcast::schema_name(), R::State::schema_name(), R::Connection::schema_name()];
    let sent = half(SchemaSettings::draft2020_12().for_deserialize());
    let received = half(SchemaSettings::draft2020_12().for_serialize());
    // The event, and the first of the three types of each call.
    let is_sent = |root: usize| root == 0 || (root >= own.len() && (root - own.len()).is_multiple_of(3));
    let (mut definitions, mut roots) = merge::merge(sent, received, &own, is_sent);

    let mut faults = Vec::new();
    for (name, definition) in &mut definitions {
        restrict(definition, &mut vec![name.clone()], &mut faults);
    }
    let kinds = ["Event", "Broadcast", "State", "Connection"].into_iter().map(str::to_owned);
    let parts =
        calls.added.iter().flat_map(|call| ["args", "result", "error"].map(|part| format!("{}.{part}", call.name)));
    for (root, name) in roots.iter_mut().zip(kinds.chain(parts)) {
        restrict(root, &mut vec![name], &mut faults);
    }
    if !faults.is_empty() {
        return Err(BindingsError { room: R::NAME, faults });
    }

    let mut roots = roots.into_iter();
    let mut next = || roots.next().unwrap_or(Value::Bool(true));
    Ok(Contract {
        name: R::NAME,
        doc: R::DOC,
        codecs: R::CODECS.all(),
        definitions,
        event: next(),
        broadcast: next(),
        state: next(),
        connection: next(),
        calls: calls
            .added
            .iter()
            .map(|call| Call { name: call.name, doc: call.doc, args: next(), result: next(), error: next() })
            .collect(),
    })
}

/// Replaces the formats of numbers, which no validator knows, by bounds. `path` is the place for the message.
fn restrict(value: &mut Value, path: &mut Vec<String>, faults: &mut Vec<String>) {
    if let Value::Object(object) = value {
        let format = object.get("format").and_then(Value::as_str).map(str::to_owned);
        if let Some((minimum, maximum)) = format.as_deref().and_then(bounds) {
            object.remove("format");
            bound(object, "minimum", minimum, i64::max);
            bound(object, "maximum", maximum, i64::min);
        } else {
            match format.as_deref() {
                Some("uint128" | "int128") => faults.push(format!(
                    "`{}` is an integer of 128 bits\nuse a `String`, or `u64` for integers up to {MAX_SAFE}",
                    path.join(".")
                )),
                Some("float" | "double") => {
                    object.remove("format");
                }
                _ => {}
            }
        }
    }
    let variant = schema::variant(value).map(str::to_owned);
    path.extend(variant.clone());
    schema::each_mut(value, &mut |step, inner| {
        let step = step.filter(|step| Some(*step) != variant.as_deref()).map(str::to_owned);
        path.extend(step.clone());
        restrict(inner, path, faults);
        if step.is_some() {
            path.pop();
        }
    });
    if variant.is_some() {
        path.pop();
    }
    if let Value::Object(object) = value
        && is_bytes(object)
    {
        object.insert(BYTES.to_owned(), Value::Bool(true));
    }
}

/// The integers of a format that a number of JavaScript can hold.
fn bounds(format: &str) -> Option<(i64, i64)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, MAX_SAFE),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (-MAX_SAFE, MAX_SAFE),
        _ => return None,
    })
}

/// Sets a bound unless the type has a narrower one, for example from a rule of garde.
fn bound(object: &mut Map<String, Value>, key: &str, of_type: i64, narrower: fn(i64, i64) -> i64) {
    let bound = match object.get(key) {
        Some(own) => own.as_i64().map_or(of_type, |own| narrower(own, of_type)),
        None => of_type,
    };
    object.insert(key.to_owned(), bound.into());
}

/// True for a list of any length whose elements are bytes. MessagePack writes it as one value, and no other list.
fn is_bytes(object: &Map<String, Value>) -> bool {
    let is_byte = |items: &Value| {
        let number = |key: &str| items.get(key).and_then(Value::as_i64);
        items.get("type").and_then(Value::as_str) == Some("integer")
            && number("minimum") == Some(0)
            && number("maximum") == Some(u8::MAX.into())
    };
    object.get("items").is_some_and(is_byte)
        && !(object.contains_key("minItems") && object.get("minItems") == object.get("maxItems"))
}
