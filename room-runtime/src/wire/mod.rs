//! The bytes on the wire and in storage. This layer depends on no platform and no room.

mod command;
mod frame;
pub(crate) mod handshake;
pub(crate) mod http_codec;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod msgpack;
pub(crate) mod origin;
mod outbox;
mod protocol;
mod ticket;
mod value;

pub use self::protocol::{SUBPROTOCOL, SUBPROTOCOL_MSGPACK};
pub(crate) use self::{command::*, frame::*, outbox::*, protocol::*, ticket::*, value::*};
use crate::{Error, ErrorKind, types::brief::brief};

fn encode_error(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("{what} cannot be written as JSON: {}", brief(error)))
}
