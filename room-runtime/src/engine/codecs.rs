//! The codecs of a room: decodes a peer's frames, and sends a message to the peers of each codec.
//!
//! A room that speaks JSON only has no [`Packing`]: its frames take the direct path, and its wasm has no MessagePack.

use std::{any::Any, borrow::Cow, fmt::Display, rc::Rc};

use bytes::Bytes;

use super::{
    Invocation, RoomHost,
    replay::Whom,
    room::{Answering, Handling, NoEvent},
    slot::Slot,
};
use crate::{
    DecodeError, Error,
    platform::*,
    wire::{Arguments, ClientFrame, msgpack::Fault},
};

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

/// Decodes an event from MessagePack, and checks it by the room's rules.
type Decode = fn(Invocation, &[u8]) -> Result<(Handling, u32), NoEvent<Fault>>;

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

/// The event or the call that a peer asks for, undecoded.
pub(super) enum Asked {
    Event(OwnedFrame),
    /// A call of a function. Its run leaves the answer in `answering`.
    Call {
        name: String,
        arguments: OwnedFrame,
        answering: Answering,
    },
}

/// A frame of a client of `room.v1`, without its number.
pub(super) enum Opened {
    Asked(Asked),
    /// Every number below this one is settled for the client.
    SettledBelow(u64),
}

fn malformed(fault: impl Display, frame: OwnedFrame) -> DecodeError {
    match frame {
        OwnedFrame::Text(text) => DecodeError::malformed(fault, text),
        OwnedFrame::Binary(bytes) => DecodeError::malformed_bytes(fault, bytes.len()),
    }
}

fn malformed_call(fault: impl Display, arguments: OwnedFrame) -> DecodeError {
    let bytes = arguments.len();
    let text = match arguments {
        OwnedFrame::Text(text) => Some(text),
        OwnedFrame::Binary(_) => None,
    };
    DecodeError::malformed_call(fault, bytes, text)
}

impl RoomHost {
    /// Takes the event out of a frame of a client of `room.v1`.
    pub(super) fn open_frame(&self, socket: Socket, frame: OwnedFrame) -> Result<Opened, DecodeError> {
        const FORM: &str = "a frame of `room.v1` is `[NUMBER, EVENT]` or `[NUMBER, \"CALL\", ARGUMENTS]`";
        let is_own = match &frame {
            OwnedFrame::Text(_) => self.room.packing.is_none() || !self.platform.is_packed(socket),
            OwnedFrame::Binary(_) => self.room.packing.is_some() && self.platform.is_packed(socket),
        };
        // A frame of the wrong kind is answered as that of a plain client, and bytes of the room's own protocol have no
        // number.
        if !is_own {
            return Ok(Opened::Asked(Asked::Event(frame)));
        }
        match ClientFrame::parse(frame) {
            Ok(ClientFrame::Event { event, .. }) => Ok(Opened::Asked(Asked::Event(event))),
            Ok(ClientFrame::From(number)) => Ok(Opened::SettledBelow(number)),
            Ok(ClientFrame::Call { number: 0, arguments, .. }) => {
                Err(malformed_call("a call has a number, because its answer has it", arguments))
            }
            Ok(ClientFrame::Call { name, arguments, .. }) => {
                Ok(Opened::Asked(Asked::Call { name, arguments, answering: Answering::default() }))
            }
            Err(frame) => Err(malformed(FORM, frame)),
        }
    }

    /// Decodes an event, or the arguments of a call.
    pub(super) fn decode(&self, call: Invocation, socket: Socket, asked: Asked) -> Result<Decoded, DecodeError> {
        match asked {
            Asked::Event(frame) => self.decode_event(call, socket, frame),
            Asked::Call { name, arguments, answering } => {
                let given = match &arguments {
                    OwnedFrame::Text(json) => Arguments::Json(json),
                    OwnedFrame::Binary(bytes) => Arguments::Packed(bytes),
                };
                match self.room.code.on_call(call, &name, given, answering) {
                    Ok((handling, handler)) => Ok(Decoded { handling, handler, cost: 1 }),
                    Err(fault) => Err(malformed_call(fault, arguments)),
                }
            }
        }
    }

    fn decode_event(&self, call: Invocation, socket: Socket, frame: OwnedFrame) -> Result<Decoded, DecodeError> {
        let packing = self.room.packing.as_ref().filter(|_| self.platform.is_packed(socket));
        let event = match (frame, packing, self.room.on_binary) {
            (OwnedFrame::Text(text), None, _) => self.room.code.on_event(call, &text).map_err(|error| match error {
                NoEvent::Malformed(fault) => DecodeError::malformed(fault, text),
                NoEvent::Invalid(invalid) => DecodeError::invalid(invalid, text),
            }),
            (OwnedFrame::Text(text), Some(_), _) => Err(DecodeError::text_frame(text)),
            (OwnedFrame::Binary(bytes), Some(packing), _) => {
                (packing.decode)(call, &bytes).map_err(|error| match error {
                    NoEvent::Malformed(fault) => DecodeError::malformed_bytes(fault, bytes.len()),
                    NoEvent::Invalid(invalid) => DecodeError::invalid_bytes(invalid, bytes.len()),
                })
            }
            (OwnedFrame::Binary(bytes), None, Some(on_binary)) => {
                return Ok(Decoded { handling: on_binary(call, bytes.into()), handler: "on_binary", cost: 1 });
            }
            (OwnedFrame::Binary(bytes), None, None) => Err(DecodeError::binary(bytes.len())),
        };
        event.map(|(handling, cost)| Decoded { handling, handler: "on_event", cost })
    }

    /// Sends a message of the room, checked by the room's rules and encoded once for each codec of the receivers.
    pub(crate) fn send_message(
        self: &Rc<Self>,
        message: &dyn Any,
        to: Audience<'_>,
        whom: &Whom<'_>,
    ) -> Result<Sent, Error> {
        if let Some(check) = self.room.check_message {
            check(message).map_err(|invalid| invalid.into_error().by_the_room().in_room(&self.id))?;
        }
        let json = || self.room.code.encode_message(message);
        if let Some(replay) = &self.room.parts.replay {
            let text = json().map_err(|error| error.in_room(&self.id))?;
            self.platform.mark((replay.record)(self, whom, &text)?);
            return self.send_text(&text, to, |packing| (packing.encode)(message));
        }
        let sent = match &self.room.packing {
            None => json().map(|text| self.send(Frame::Text(&text), to)),
            Some(packing) => {
                self.send_in_codecs(packing, to, &|| json().map(Cow::Owned), &|| (packing.encode)(message))
            }
        };
        sent.map_err(|error| error.in_room(&self.id))
    }

    /// Sends a message of the room that is given as JSON.
    pub(super) fn send_json(self: &Rc<Self>, message: &str, to: Audience<'_>, whom: &Whom<'_>) -> Result<Sent, Error> {
        if let Some(replay) = &self.room.parts.replay {
            self.platform.mark((replay.record)(self, whom, message)?);
        }
        self.send_text(message, to, |packing| (packing.convert)(message))
    }

    fn send_text(
        self: &Rc<Self>,
        json: &str,
        to: Audience<'_>,
        packed: impl Fn(&Packing) -> Result<Vec<u8>, Error>,
    ) -> Result<Sent, Error> {
        let sent = match &self.room.packing {
            None => Ok(self.send(Frame::Text(json), to)),
            Some(packing) => self.send_in_codecs(packing, to, &|| Ok(json.into()), &|| packed(packing)),
        };
        sent.map_err(|error| error.in_room(&self.id))
    }

    /// Sends messages of the log to a client that has resumed.
    pub(super) fn send_missed(&self, slot: &Slot, messages: &[(u64, OwnedFrame)]) {
        let socket = slot.socket.get();
        // The budget of a slow consumer begins after them.
        let send = |frame: Frame<'_>| _ = self.platform.send(frame, Audience::Only(&[socket]), usize::MAX, false);
        for (position, frame) in messages {
            self.platform.mark(*position);
            match frame {
                OwnedFrame::Text(json) => send(Frame::Text(json)),
                OwnedFrame::Binary(bytes) => send(Frame::Packed(bytes)),
            }
            self.counters.sent(1, frame.len());
        }
    }

    /// Sends a frame of the runtime, given as JSON, to a plain client.
    pub(super) fn send_plain_notice(self: &Rc<Self>, notice: &str, to: &Slot) {
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
