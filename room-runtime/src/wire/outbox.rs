//! The durable calls of a room to other rooms, as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::WireError;
use crate::RoomId;

/// The room that a durable call is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) binding: String,
    pub(crate) class: String,
    /// The name of the room type.
    pub(crate) name: String,
    pub(crate) room: RoomId,
}

/// A durable call that was given up.
#[derive(Serialize, Deserialize)]
pub(crate) struct UndeliveredCall {
    pub(crate) to: Target,
    pub(crate) event: Box<RawValue>,
    pub(crate) error: WireError,
    pub(crate) attempts: u32,
    pub(crate) sent_at: u64,
    pub(crate) given_up_at: u64,
}
