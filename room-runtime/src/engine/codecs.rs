//! The codecs of a room: decodes a peer's frames, and sends a message to the peers of each codec.
//!
//! A room that speaks JSON only has no [`Packing`]: its frames take the direct path, and its wasm has no MessagePack.

use std::{any::Any, borrow::Cow, rc::Rc};

use bytes::Bytes;

use super::{Invocation, RoomHost, room::Handling, slot::Slot};
use crate::{DecodeError, Error, platform::*, wire::msgpack::Fault};

/// The part of the engine for rooms that speak MessagePack.
pub(crate) struct Packing {
    /// True if clients that choose no codec speak MessagePack.
    pub(crate) is_default: bool,
    /// Decodes an event, and returns the run of its handler and the event's cost.
    pub(crate) decode: Decode,
    /// Encodes a message of the room.
    pub(crate) encode: fn(&dyn Any) -> Result<Vec<u8>, Error>,
    /// Converts a message of the room from JSON.
    pub(crate) convert: fn(&str) -> Result<Vec<u8>, Error>,
    /// Converts a frame of the runtime from JSON.
    pub(crate) convert_notice: fn(&str) -> Vec<u8>,
}

/// Decodes an event from MessagePack.
type Decode = fn(Invocation, &[u8]) -> Result<(Handling, u32), Fault>;

/// Runs `on_binary`. A room without the handler has none.
pub(crate) type OnBinary = fn(Invocation, Bytes) -> Handling;

/// A decoded frame.
pub(super) struct Decoded {
    /// The run of the handler.
    pub(super) handling: Handling,
    /// The name of the handler.
    pub(super) handler: &'static str,
    /// The cost against the rate limit.
    pub(super) cost: u32,
}

impl RoomHost {
    /// Decodes a frame.
    pub(super) fn decode(&self, call: Invocation, socket: Socket, frame: OwnedFrame) -> Result<Decoded, DecodeError> {
        let packing = self.room.packing.as_ref().filter(|_| self.platform.is_packed(socket));
        let event = match (frame, packing, self.room.on_binary) {
            (OwnedFrame::Text(text), None, _) => {
                self.room.code.on_event(call, &text).map_err(|error| DecodeError::malformed(error, text))
            }
            (OwnedFrame::Text(text), Some(_), _) => Err(DecodeError::text_frame(text)),
            (OwnedFrame::Binary(bytes), Some(packing), _) => {
                (packing.decode)(call, &bytes).map_err(|fault| DecodeError::malformed_bytes(fault, bytes.len()))
            }
            (OwnedFrame::Binary(bytes), None, Some(on_binary)) => {
                return Ok(Decoded { handling: on_binary(call, bytes.into()), handler: "on_binary", cost: 1 });
            }
            (OwnedFrame::Binary(bytes), None, None) => Err(DecodeError::binary(bytes.len())),
        };
        event.map(|(handling, cost)| Decoded { handling, handler: "on_event", cost })
    }

    /// Sends a message of the room, encoded once for each codec of the receivers.
    pub(crate) fn send_message(self: &Rc<Self>, message: &dyn Any, to: Audience<'_>) -> Result<Sent, Error> {
        let json = || self.room.code.encode_message(message);
        let sent = match &self.room.packing {
            None => json().map(|text| self.send(Frame::Text(&text), to)),
            Some(packing) => {
                self.send_in_codecs(packing, to, &|| json().map(Cow::Owned), &|| (packing.encode)(message))
            }
        };
        sent.map_err(|error| error.in_room(&self.id))
    }

    /// Sends a message of the room that is given as JSON.
    pub(super) fn send_json(self: &Rc<Self>, message: &str, to: Audience<'_>) -> Result<Sent, Error> {
        let sent = match &self.room.packing {
            None => Ok(self.send(Frame::Text(message), to)),
            Some(packing) => self.send_in_codecs(packing, to, &|| Ok(message.into()), &|| (packing.convert)(message)),
        };
        sent.map_err(|error| error.in_room(&self.id))
    }

    /// Sends a frame of the runtime, given as JSON, to one peer.
    pub(super) fn send_notice(self: &Rc<Self>, notice: &str, to: &Slot) {
        let to = Audience::Only(&[to.socket.get()]);
        // A send fails only if the socket is closing.
        match &self.room.packing {
            None => drop(self.send(Frame::Text(notice), to)),
            Some(packing) => {
                let packed = || Ok((packing.convert_notice)(notice));
                drop(self.send_in_codecs(packing, to, &|| Ok(notice.into()), &packed));
            }
        }
    }

    /// Sends in the default codec, and then in the other one, if any receiver speaks it.
    fn send_in_codecs<'a>(
        self: &Rc<Self>,
        packing: &Packing,
        to: Audience<'_>,
        json: &dyn Fn() -> Result<Cow<'a, str>, Error>,
        packed: &dyn Fn() -> Result<Vec<u8>, Error>,
    ) -> Result<Sent, Error> {
        let send = |is_packed: bool| {
            Ok(match is_packed {
                true => self.send(Frame::Packed(&packed()?), to),
                false => self.send(Frame::Text(&json()?), to),
            })
        };
        let first = send(packing.is_default)?;
        if !first.others {
            return Ok(first);
        }
        let second: Sent = send(!packing.is_default)?;
        Ok(Sent {
            sent: first.sent + second.sent,
            failed: [first.failed, second.failed].concat(),
            unread: [first.unread, second.unread].concat(),
            held: first.held || second.held,
            others: false,
        })
    }
}
