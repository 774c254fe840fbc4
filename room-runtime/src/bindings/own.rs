//! The schemas of the runtime's types that are texts.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{ErrorKind, PeerId, RoomId, ScheduleId};

macro_rules! texts {
    ($($ty:ident: $doc:literal)*) => {
        $(impl JsonSchema for $ty {
            fn schema_name() -> Cow<'static, str> {
                stringify!($ty).into()
            }

            fn schema_id() -> Cow<'static, str> {
                concat!("room_runtime::", stringify!($ty)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $doc })
            }
        })*
    };
}

texts! {
    ErrorKind: "The kind of an error. Later releases have more of them."
    PeerId: "The id of a peer."
    RoomId: "The id of a room."
    ScheduleId: "The id of a schedule, in hexadecimal digits."
}
