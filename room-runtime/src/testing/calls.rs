//! Calls of a room's functions, by a test and by its peers.

use std::{collections::HashMap, future::poll_fn, task::Poll};

use http::{HeaderValue, Request, header::SEC_WEBSOCKET_PROTOCOL};
use serde_json::Value;

use super::{TestPeer, TestRoom};
use crate::{
    Codec, Error, ErrorKind, Room, SUBPROTOCOL, SUBPROTOCOL_MSGPACK,
    api::calls::{Caller, CallerError, ErrorOf, Replied, RoomCall, ValueOf, WorkerCaller},
    platform::OwnedFrame,
    wire::{self, Notice},
};

/// The calls of a peer by their numbers, with the control of each that has an outcome.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: HashMap<u64, Option<Value>>,
    /// The highest number of the session so far.
    highest: u64,
}

impl Calls {
    /// Returns whether a control is the outcome of a call.
    pub(super) fn has(&self, control: &Value) -> bool {
        number_of(control).is_some_and(|number| self.calls.contains_key(&number))
    }

    /// The numbers of a resumed session go on.
    pub(super) fn after(before: u64) -> Self {
        Calls { calls: HashMap::new(), highest: before }
    }

    /// Notes the number of a frame that the test wrote itself, so that a call gets another one.
    pub(super) fn note(&mut self, frame: &str) {
        let number = frame.strip_prefix('[').and_then(|rest| rest.split_once(',')?.0.trim().parse().ok());
        self.highest = self.highest.max(number.unwrap_or(0));
    }

    /// The number of the next call.
    pub(super) fn next(&self) -> u64 {
        self.highest + 1
    }

    fn begin(&mut self) -> u64 {
        self.highest += 1;
        self.calls.insert(self.highest, None);
        self.highest
    }

    fn settle(&mut self, control: &Value) {
        if let Some(outcome) = number_of(control).and_then(|number| self.calls.get_mut(&number)) {
            *outcome = Some(control.clone());
        }
    }
}

/// The number in an answer or in an error.
fn number_of(control: &Value) -> Option<u64> {
    let outcome = control.get("answer").or_else(|| control.get("error"))?;
    outcome.get("n")?.as_u64()
}

/// Offers `room.v1` in a room with functions that peers can call, because only its clients can. A request with subprotocols of its own stays
/// as it is.
pub(super) fn offering<R: Room>(mut request: Request<()>) -> Request<()> {
    if R::CALLS.iter().any(|call| call.by_peers) && !request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let protocol = match Codec::begins_with_message_pack(R::CODECS.all()) {
            true => SUBPROTOCOL_MSGPACK,
            false => SUBPROTOCOL,
        };
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    request
}

impl<R: Room> Caller<R> for TestRoom<R> {
    type Returned<K: RoomCall<Room = R>> = Result<ValueOf<K>, ErrorOf<K>>;

    /// Calls a function as the Worker does.
    fn call_function<K: RoomCall<Room = R>>(&self, call: K) -> Result<ValueOf<K>, ErrorOf<K>> {
        let reply = self.world.block_on(self.handle().call_function(call).into_reply());
        reply.map_err(ErrorOf::<K>::from)?.into_result()
    }
}

impl<R: Room> WorkerCaller<R> for TestRoom<R> {}

impl<R: Room> Caller<R> for TestPeer<R> {
    type Returned<K: RoomCall<Room = R>> = Result<ValueOf<K>, ErrorOf<K>>;

    /// Calls a function as a client of `room.v1` does, and lets time pass until its outcome arrives.
    ///
    /// # Panics
    /// Panics if the peer connected with subprotocols of its own, and if no outcome can arrive.
    fn call_function<K: RoomCall<Room = R>>(&self, call: K) -> Result<ValueOf<K>, ErrorOf<K>> {
        let control = self.call_raw(K::NAME, &call)?;
        if let Some(error) = control.get("error") {
            let notice = serde_json::json!({ "error": error }).to_string();
            let error = match serde_json::from_str(&notice) {
                Ok(Notice::Error { code, message, violations, .. }) => {
                    Error::new(code, message).with_violations(violations.into_owned())
                }
                _ => Error::new(ErrorKind::Decode, notice),
            };
            return Err(error.of_peer(&self.id).into());
        }
        let reply = control.get("answer").cloned().and_then(|mut answer| {
            answer.as_object_mut()?.remove("n");
            Some(answer)
        });
        let reply = serde_json::from_value::<Replied<ValueOf<K>, <ErrorOf<K> as CallerError>::Own>>(reply.into());
        let decoded =
            reply.map_err(|error| Error::new(ErrorKind::Decode, format!("the answer does not decode: {error}")));
        decoded.map_err(ErrorOf::<K>::from)?.into_result()
    }
}

impl<R: Room> TestPeer<R> {
    /// Reads the highest number of a resumed session from the welcome, which is the first frame.
    pub(super) fn begin_calls(&self) {
        let first = self.with_socket(|socket| socket.received.front().cloned());
        let controls = first.and_then(|frame| self.parts(&frame)).map(|(controls, _)| controls).unwrap_or_default();
        let last = controls.first().and_then(|control| control["welcome"]["last"].as_u64());
        self.calls.replace(Calls::after(last.unwrap_or(0)));
    }

    /// Sends a call and returns its outcome.
    fn call_raw<K: RoomCall<Room = R>>(&self, name: &str, call: &K) -> Result<Value, Error> {
        assert!(
            self.with_socket(|socket| socket.v1),
            "peer `{}` connected with a subprotocol of its own; only a client of `{SUBPROTOCOL}` can call `{name}`",
            self.id
        );
        if !self.is_open() {
            return Err(Error::new(ErrorKind::PeerGone, "the connection is closed").of_peer(&self.id));
        }
        let number = self.calls.borrow_mut().begin();
        let frame = match self.is_packed() {
            true => OwnedFrame::Binary(wire::packed_call(number, name, &wire::msgpack::encode_event(call)?)),
            false => OwnedFrame::Text(format!("[{number},\"{name}\",{}]", wire::encode_event(call)?)),
        };
        self.send_frame(frame);
        self.world.block_on(poll_fn(|cx| {
            if let Some(outcome) = self.outcome(number) {
                return Poll::Ready(Ok(outcome));
            }
            if !self.is_open() {
                return Poll::Ready(Err(Error::new(ErrorKind::PeerGone, "the connection ended").of_peer(&self.id)));
            }
            // The world polls again after each step, and then after each moment in time.
            let _ = cx;
            Poll::Pending
        }))
    }

    /// Looks for the outcome of a call in the frames that have arrived. They stay in place.
    fn outcome(&self, number: u64) -> Option<Value> {
        let arrived: Vec<_> = self.with_socket(|socket| socket.received.iter().cloned().collect());
        let controls = arrived.iter().filter_map(|frame| self.parts(frame)).flat_map(|(controls, _)| controls);
        let mut calls = self.calls.borrow_mut();
        controls.for_each(|control| calls.settle(&control));
        calls.calls.get(&number).cloned().flatten()
    }
}
