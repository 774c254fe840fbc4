//! The readers of bytes from outside and from storage, for the fuzz targets of this repository only. They change without notice.

use bytes::Bytes;
use http::{Request, Response};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Refusal, TestFrame, TestPeer, TestRoom};
use crate::{
    Codec, Error, Room, Upgrade,
    platform::{OwnedFrame, Platform},
    wire::{
        self, Command, Reply, WireError,
        handshake::{self, NoProtocol},
        http_codec::{self, RequestHead},
        msgpack,
        origin::Origins,
    },
};

impl From<TestFrame> for OwnedFrame {
    fn from(frame: TestFrame) -> Self {
        match frame {
            TestFrame::Text(text) => OwnedFrame::Text(text),
            TestFrame::Binary(bytes) => OwnedFrame::Binary(bytes.into()),
        }
    }
}

impl From<OwnedFrame> for TestFrame {
    fn from(frame: OwnedFrame) -> Self {
        match frame {
            OwnedFrame::Text(text) => TestFrame::Text(text),
            OwnedFrame::Binary(bytes) => TestFrame::Binary(bytes.into()),
        }
    }
}

// Events and messages.

/// Decodes an event as a room does that speaks JSON.
///
/// # Errors
/// The text is no event.
pub fn event_from_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    wire::decode_event(text)
}

/// Encodes an event as JSON.
///
/// # Errors
/// The event would not read back.
pub fn event_to_json<T: Serialize>(event: &T) -> Result<String, Error> {
    wire::encode_event(event)
}

/// Decodes an event as a room does that speaks MessagePack.
///
/// # Errors
/// The bytes are no event.
pub fn event_from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    msgpack::decode_event(bytes).map_err(|fault| fault.to_string())
}

/// Encodes an event as MessagePack.
///
/// # Errors
/// The event would not read back.
pub fn event_to_msgpack<T: Serialize>(event: &T) -> Result<Vec<u8>, Error> {
    msgpack::encode_event(event)
}

/// Splits a list of MessagePack, as the test kit does.
pub fn elements(list: &[u8]) -> Option<Vec<&[u8]>> {
    msgpack::elements(list)
}

/// Returns a frame of the runtime in MessagePack as JSON.
pub fn unpack_notice(bytes: &[u8]) -> Option<String> {
    wire::unpack_notice(bytes)
}

/// Parses a frame of the runtime, and writes it again.
pub fn rewrite_notice(text: &str) -> Option<String> {
    Some(wire::Notice::parse(text)?.into_frame())
}

// The protocol `room.v1`.

/// A frame of a client of `room.v1`, without decoding its event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientFrame {
    /// An event with its number.
    Event(u64, TestFrame),
    /// A call with its number, its name and its arguments.
    Call(u64, String, TestFrame),
    /// The number below which all is settled.
    From(u64),
}

/// Parses a frame of a client.
///
/// # Errors
/// The frame, if it has another form.
pub fn client_frame(frame: TestFrame) -> Result<ClientFrame, TestFrame> {
    match wire::ClientFrame::parse(frame.into())? {
        wire::ClientFrame::Event { number, event } => Ok(ClientFrame::Event(number, event.into())),
        wire::ClientFrame::Call { number, name, arguments } => Ok(ClientFrame::Call(number, name, arguments.into())),
        wire::ClientFrame::From(number) => Ok(ClientFrame::From(number)),
    }
}

/// Returns the number of a frame of a client, as it is read before the frame's turn.
pub fn number_of(frame: TestFrame) -> u64 {
    wire::number_of(&frame.into())
}

/// Takes the offer to resume out of subprotocols: the token, the lowest number and the position.
pub fn take_resume_offer(protocols: &mut Vec<String>) -> Option<(String, u64, u64)> {
    let offer = wire::take_resume_offer(protocols)?;
    Some((offer.token, offer.from, offer.at))
}

/// Reads the subprotocols from headers.
pub fn protocols(headers: &[&str]) -> Vec<String> {
    handshake::parse_protocols(headers.iter().copied())
}

/// Chooses the subprotocol of a handshake, and says whether its client speaks MessagePack.
///
/// # Errors
/// The text of the refusal, or the error of an invalid choice.
pub fn choose_protocol(
    offered: &[String],
    chosen: Option<String>,
    codecs: &[Codec],
) -> Result<(Option<String>, bool), String> {
    let chosen = handshake::choose_protocol(offered, chosen, codecs).map_err(|none| match none {
        NoProtocol::Refused(text) => text,
        NoProtocol::Invalid(error) => error.to_string(),
    })?;
    let is_packed = handshake::speaks_message_pack(chosen.as_deref(), codecs);
    Ok((chosen, is_packed))
}

// The Worker's side.

/// Checks that a request is a WebSocket handshake.
///
/// # Errors
/// The status of the refusal.
pub fn check_handshake(method: &str, header: impl Fn(&'static str) -> Option<String>) -> Result<(), u16> {
    handshake::check_handshake(method, header).map_err(|refused| refused.status)
}

/// Returns whether a page of this origin may connect.
pub fn is_allowed(list: &'static [&'static str], origin: &str) -> bool {
    Origins::of(list).is_none_or(|origins| origins.allow(Some(origin)))
}

/// Returns whether a text has the form of a ticket.
pub fn is_ticket(text: &str) -> bool {
    wire::is_ticket(text)
}

/// Parses a command of the Worker, and writes it again.
pub fn rewrite_command(text: &str) -> Option<String> {
    Command::parse(text).map(|command| command.to_string())
}

/// Decodes the answer to a command.
///
/// # Errors
/// The error in the answer, or that of an answer of another form.
pub fn decode_reply(answer: &str) -> Result<Value, Error> {
    wire::decode_reply(answer)
}

/// Encodes an error as the answer to a command.
///
/// # Errors
/// The answer would not read back.
pub fn encode_error(error: &Error) -> Result<String, Error> {
    wire::encode_reply(&Reply::<()>::Err(WireError::from(error)))
}

/// Decodes the head of a request.
///
/// # Errors
/// The text is no head of a request.
pub fn decode_request(head: &str) -> Result<Request<()>, Error> {
    wire::decode_value::<RequestHead>(head.as_bytes(), "the request")?.into_request(())
}

/// Encodes the head of a request.
pub fn encode_request(request: &Request<()>) -> String {
    // Strings are always serializable.
    serde_json::to_string(&RequestHead::of(request)).unwrap_or_default()
}

/// Returns the error of a client that asked for a socket and got another answer, and the answer that a Worker gives for it.
pub fn no_socket(status: u16, content_type: Option<&str>, body: &[u8]) -> (Error, Response<Bytes>) {
    let error = || http_codec::no_socket(status, content_type, body);
    (error(), Response::from(error()))
}

// A whole room.

/// Sends the text of a command to a room, and returns its answer; `None` if the room went down.
pub fn call<R: Room>(room: &TestRoom<R>, command: &str) -> Option<String> {
    let receiver = room.object.clone().call(command.to_owned());
    room.world().block_on(receiver).ok()
}

/// Connects a peer by the JSON of the Worker's half of an upgrade.
///
/// # Errors
/// The errors of [`TestRoom::try_connect`].
pub fn connect<R: Room>(
    room: &TestRoom<R>,
    ticket: &str,
    request: Request<()>,
    upgrade: &str,
) -> Result<TestPeer<R>, Refusal> {
    let prepare = Command::Prepare { ticket, upgrade }.to_string();
    let connected = room.world().block_on(room.begin_connect_prepared(ticket.to_owned(), Ok(prepare), request));
    room.world().0.settle();
    connected
}

/// Returns the JSON of the Worker's half of an upgrade.
///
/// # Errors
/// The upgrade is not valid.
pub fn encode_upgrade<C: Serialize>(upgrade: Upgrade<C>) -> Result<String, Error> {
    wire::encode_upgrade(&upgrade.into_options()?)
}

/// Sends a frame.
pub fn send<R: Room>(peer: &TestPeer<R>, frame: TestFrame) {
    match frame {
        TestFrame::Text(text) => peer.send_raw(text),
        TestFrame::Binary(bytes) => peer.send_binary(bytes),
    }
}

/// The keys of the room's storage with their values.
pub fn storage<R: Room>(room: &TestRoom<R>) -> Vec<(String, Vec<u8>)> {
    room.object.memory.contents()
}

/// Replaces a stored value. A room that is in memory does not notice it.
pub fn store<R: Room>(room: &TestRoom<R>, key: &str, value: &[u8]) {
    room.object.memory.store(key, value);
}

/// The attachment of a peer's socket.
pub fn attachment<R: Room>(peer: &TestPeer<R>) -> Option<Vec<u8>> {
    room_memory(peer).attachment(peer.socket)
}

/// Replaces the attachment of a peer's socket, if it has one and the platform would keep the new one.
pub fn attach<R: Room>(peer: &TestPeer<R>, bytes: &[u8]) {
    let memory = room_memory(peer);
    if memory.attachment(peer.socket).is_some() {
        // The platform never gives back an attachment that it did not accept.
        let _ = memory.attach(peer.socket, bytes);
    }
}

fn room_memory<R: Room>(peer: &TestPeer<R>) -> &crate::platform::memory::Memory {
    &peer.object.memory
}

/// The address of a request's client, for rooms that limit its rate.
pub const ADDRESS_HEADER: &str = handshake::ADDRESS_HEADER;
