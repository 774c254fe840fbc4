//! [`RoomType`]: a room's constants and code, as the engine uses them. The engine does not know the room's types, so
//! that it is compiled once for all rooms of a program.

use std::{any::Any, cell::OnceCell, rc::Rc};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::value::RawValue;

use super::{
    RoomHost, Slot,
    alarms::Firing,
    codecs::{OnBinary, Packing},
    commands::Requests,
    liveness::Liveness,
    outbox::Delivering,
    purge::Purging,
    rates::Rates,
    reconnect::Places,
    replay::Replay,
    roster::Roster,
    upgrade::{Asked, Asking, Offer, Rejection},
    users::Users,
};
use crate::{
    Close, Codec, DecodeError, Error, Failure, HandlerError, Limits, OnInvalid, PeerId, RateLimit, SystemFailure,
    platform::LocalFuture,
    types::violations::Invalid,
    wire::{Answer, Arguments},
};

/// A state, or a peer's data. Only the code of the room knows the type.
pub(crate) type Value = Rc<dyn Any>;

/// The run of a handler.
pub(crate) type Handling<T = (), E = Failure> = LocalFuture<Result<T, E>>;

/// The place for the answer of a call that runs.
pub(crate) type Answering = Rc<OnceCell<Answer>>;

/// Makes the services of a room.
pub(crate) type MakeServices = Box<dyn Fn() -> Result<Box<dyn Any>, Failure>>;

/// A room type without its types: the constants, the code, and the parts of the engine that it needs.
pub(crate) struct RoomType {
    pub(crate) name: &'static str,
    pub(crate) class: &'static str,
    /// The type that implements [`Room`](crate::Room), and the type of its services, for the test kit.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) types: [std::any::TypeId; 2],
    pub(crate) heartbeat: (&'static str, &'static str),
    pub(crate) limits: Limits,
    pub(crate) on_invalid: OnInvalid,
    pub(crate) stores_first_state: bool,
    pub(crate) state_version: u32,
    pub(crate) reconnect_grace_ms: u64,
    pub(crate) purge_after_ms: u64,
    pub(crate) watchdog_ms: u64,
    pub(crate) peer_timeout_ms: u64,
    pub(crate) batch_ms: u64,
    pub(crate) outbox_timeout_ms: u64,
    pub(crate) session_timeout_ms: u64,
    pub(crate) replay: crate::Replay,
    pub(crate) has_on_away: bool,
    pub(crate) has_on_alarm: bool,
    pub(crate) codecs: &'static [Codec],
    pub(crate) packing: Option<Packing>,
    pub(crate) on_binary: Option<OnBinary>,
    pub(crate) parts: Parts,
    /// Checks a peer's data by the room's rules. A room without rules for it has none.
    pub(crate) check_data: Option<Check>,
    /// Checks a message to peers by the room's rules.
    pub(crate) check_message: Option<Check>,
    pub(crate) code: &'static dyn RoomCode,
}

/// Checks a value by the rules of the room.
type Check = fn(&dyn Any) -> Result<(), Invalid>;

/// The handlers and the codecs of a room.
pub(crate) trait RoomCode {
    fn decode_state(&self, json: &[u8]) -> Result<Value, Error>;
    fn encode_state(&self, state: &dyn Any) -> Result<Vec<u8>, Error>;
    fn migrate(&self, version: u32, json: &[u8]) -> Result<Result<Value, Failure>, Error>;
    fn decode_data(&self, json: &str) -> Result<Value, serde_json::Error>;
    fn encode_data(&self, data: &dyn Any) -> Result<Box<RawValue>, Error>;

    fn init(&self, call: Invocation) -> Result<Value, Failure>;
    fn on_start(&self, call: Invocation) -> Handling;
    fn on_upgrade(&self, call: Invocation, offer: Offer) -> Handling<Asked, Rejection>;
    fn on_connect(&self, call: Invocation, peer: &Rc<Slot>) -> Handling;
    fn on_join(&self, call: Invocation, user: PeerId) -> Handling;
    fn on_resume(&self, call: Invocation, peer: &Rc<Slot>) -> Handling;
    /// Decodes the event, checks it by the room's rules, and returns the run of its handler and the cost of a peer's
    /// event.
    fn on_event(&self, call: Invocation, json: &str) -> Result<(Handling, u32), NoEvent<serde_json::Error>>;
    /// Decodes the arguments of a call, and returns the run of the function and its name. The run leaves its answer in
    /// `answering`.
    fn on_call(
        &self,
        call: Invocation,
        name: &str,
        arguments: Arguments<'_>,
        answering: Answering,
    ) -> Result<(Handling, &'static str), String>;
    /// Encodes a message of the room as JSON.
    fn encode_message(&self, message: &dyn Any) -> Result<String, Error>;
    fn on_away(&self, call: Invocation, peer: &Rc<Slot>) -> Handling;
    fn on_close(&self, call: Invocation, peer: &Rc<Slot>, close: Close) -> Handling;
    fn on_leave(&self, call: Invocation, user: PeerId) -> Handling;
    /// Decodes the alarm, and returns the run of its handler.
    fn on_alarm(&self, call: Invocation, json: &RawValue) -> Result<Handling, Error>;
    /// Decodes the call, and returns the run of its handler.
    fn on_undelivered(&self, call: Invocation, json: &RawValue) -> Result<Handling, Error>;
    fn on_request(&self, call: Invocation, request: Request<Bytes>) -> Handling<Response<Bytes>>;
    fn on_decode_error(&self, call: Invocation, error: DecodeError) -> Handling;
    fn on_error(&self, call: Invocation, error: HandlerError) -> Handling;
}

/// The reason why a frame is no event, with the fault of its codec.
pub(crate) enum NoEvent<Fault> {
    Malformed(Fault),
    Invalid(Invalid),
}

/// The call of a handler.
#[derive(Clone)]
pub(crate) struct Invocation {
    pub(crate) host: Rc<RoomHost>,
    /// The peer that the handler runs for.
    pub(crate) sender: Option<Rc<Slot>>,
    /// The life of the room that the handler belongs to. A purge ends it.
    pub(crate) life: u64,
    pub(crate) failure: Option<SystemFailure>,
}

/// The properties of a room that decide which parts of the engine it needs.
pub(crate) struct Needs {
    pub(crate) on_upgrade: bool,
    pub(crate) on_close: bool,
    /// True for `on_join` and for `on_leave`.
    pub(crate) users: bool,
    pub(crate) on_alarm: bool,
    pub(crate) on_undelivered: bool,
    pub(crate) on_request: bool,
    pub(crate) grace: bool,
    pub(crate) purge_after: bool,
    pub(crate) peer_timeout: bool,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) replay: bool,
}

/// The parts of the engine that not every room needs.
///
/// The engine calls them through this table only. The table of a room is a constant and has only the parts that the
/// room needs, so the linker leaves the others out of the wasm.
pub(crate) struct Parts {
    /// The stored list of peers.
    pub(crate) roster: Option<Roster>,
    /// The places of peers that can reconnect.
    pub(crate) places: Option<Places>,
    /// The handlers of users.
    pub(crate) users: Option<Users>,
    /// The purge of an empty room.
    pub(crate) purging: Option<Purging>,
    /// The timeout of silent peers.
    pub(crate) liveness: Option<Liveness>,
    /// The platform's alarm.
    pub(crate) alarm: Option<fn(Rc<RoomHost>) -> LocalFuture>,
    /// The alarms, grace times, planned purges and undelivered calls that become due.
    pub(crate) firing: Option<Firing>,
    /// The outbox of durable calls.
    pub(crate) delivering: Option<Delivering>,
    pub(crate) asking: Option<Asking>,
    pub(crate) requests: Option<Requests>,
    /// The rate limit.
    pub(crate) rates: Option<Rates>,
    /// The log of messages for clients that resume.
    pub(crate) replay: Option<Replay>,
}

impl Parts {
    pub(crate) const fn of(needs: &Needs) -> Self {
        let has_roster = needs.on_close || needs.users || needs.grace;
        let has_schedules = needs.on_alarm || needs.on_undelivered || needs.grace || needs.purge_after;
        Parts {
            roster: if has_roster { Some(Roster::PART) } else { None },
            places: if needs.grace { Some(Places::PART) } else { None },
            users: if needs.users { Some(Users::PART) } else { None },
            purging: if needs.purge_after { Some(Purging::PART) } else { None },
            liveness: if needs.peer_timeout { Some(Liveness::PART) } else { None },
            alarm: if has_schedules || has_roster || needs.peer_timeout { Some(RoomHost::alarm_boxed) } else { None },
            firing: if has_schedules { Some(Firing::PART) } else { None },
            delivering: if needs.on_undelivered { Some(Delivering::PART) } else { None },
            asking: if needs.on_upgrade { Some(RoomHost::ask) } else { None },
            requests: if needs.on_request { Some(RoomHost::answer_request) } else { None },
            rates: match needs.rate_limit {
                Some(limit) => Some(Rates::of(limit)),
                None => None,
            },
            replay: if needs.replay { Some(Replay::PART) } else { None },
        }
    }
}

impl RoomType {
    /// True if the loss of a peer has consequences that must not wait for the room's next event.
    pub(crate) const fn has_watchdog(&self) -> bool {
        self.parts.roster.is_some() || self.parts.purging.is_some()
    }
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    static CLASSES: std::cell::RefCell<std::collections::HashMap<&'static str, &'static RoomType>> = std::cell::RefCell::default();
}

/// Makes a room type known by its class, so that a native test can make rooms that only a handler names.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn register(room: &'static RoomType) {
    CLASSES.with_borrow_mut(|classes| classes.insert(room.class, room));
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn registered(class: &str) -> Option<&'static RoomType> {
    CLASSES.with_borrow(|classes| classes.get(class).copied())
}
