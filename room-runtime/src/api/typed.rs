//! [`Typed`]: the code of one room type, for the engine, which knows no room's types. It decodes and encodes the room's
//! values, and calls the room's handlers.

use std::{
    any::Any,
    cell::{OnceCell, RefCell},
    marker::PhantomData,
    mem,
    rc::Rc,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::value::RawValue;

use crate::{
    Close, Codec, DecodeError, Error, Failure, HandlerError, Peer, PeerId, Reject, Room, RoomContext, Undelivered,
    UpgradeRequest,
    api::calls,
    engine::{
        Invocation, RoomType, Value,
        codecs::Packing,
        room::{Answering, Handling, Needs, NoEvent, Parts, RoomCode},
        slot::Slot,
        upgrade::{Asked, Offer, Rejection},
    },
    types::violations::{Invalid, check},
    wire::{self, Arguments},
};

/// The code of a room, as the engine calls it.
pub(crate) struct Typed<R>(PhantomData<fn() -> R>);

/// Returns the table of a room type.
pub(crate) fn room_type<R: Room>() -> &'static RoomType {
    Typed::<R>::TYPE
}

impl<R: Room> Typed<R> {
    const TYPE: &'static RoomType = &RoomType {
        name: R::NAME,
        class: R::CLASS,
        #[cfg(not(target_arch = "wasm32"))]
        types: [std::any::TypeId::of::<R>(), std::any::TypeId::of::<R::Services>()],
        heartbeat: R::HEARTBEAT,
        limits: R::LIMITS,
        on_invalid: R::ON_INVALID,
        stores_first_state: R::STORES_FIRST_STATE,
        state_version: R::STATE_VERSION,
        reconnect_grace_ms: R::RECONNECT_GRACE_MS,
        purge_after_ms: R::PURGE_AFTER_MS,
        watchdog_ms: R::WATCHDOG_MS,
        peer_timeout_ms: R::PEER_TIMEOUT_MS,
        batch_ms: R::BATCH_MS,
        outbox_timeout_ms: R::OUTBOX_TIMEOUT_MS,
        session_timeout_ms: R::SESSION_TIMEOUT_MS,
        replay: R::REPLAY,
        has_on_away: R::HAS_ON_AWAY,
        has_on_alarm: R::HAS_ON_ALARM,
        codecs: R::CODECS.all(),
        packing: if Codec::has_message_pack(R::CODECS.all()) {
            Some(Packing {
                is_default: Codec::begins_with_message_pack(R::CODECS.all()),
                decode: |call, bytes| {
                    let event = wire::msgpack::decode_event::<R::Event>(bytes).map_err(NoEvent::Malformed)?;
                    handle::<R>(call, event).map_err(NoEvent::Invalid)
                },
                encode: |message| wire::msgpack::encode_message(typed_ref::<R::Broadcast>(message)),
                convert: |json| {
                    let message = wire::decode_value::<R::Broadcast>(json.as_bytes(), "the room's message")?;
                    wire::msgpack::encode_message(&message)
                },
                convert_notice: wire::msgpack::from_json,
            })
        } else {
            None
        },
        on_binary: if R::HAS_ON_BINARY {
            Some(|call, bytes| {
                let ctx = RoomContext::<R>::new(call);
                Box::pin(async move { R::on_binary(&ctx, bytes).await })
            })
        } else {
            None
        },
        parts: Parts::of(&Needs {
            on_upgrade: R::HAS_ON_UPGRADE,
            on_close: R::HAS_ON_CLOSE,
            users: R::HAS_ON_JOIN || R::HAS_ON_LEAVE,
            on_alarm: R::HAS_ON_ALARM,
            on_undelivered: R::HAS_ON_UNDELIVERED,
            on_request: R::HAS_ON_REQUEST,
            grace: R::RECONNECT_GRACE_MS > 0,
            purge_after: R::PURGE_AFTER_MS > 0,
            peer_timeout: R::PEER_TIMEOUT_MS > 0,
            rate_limit: R::LIMITS.rate_limit,
            // Without a grace there is no place to which a message could be addressed.
            replay: R::REPLAY.messages > 0 && R::RECONNECT_GRACE_MS > 0,
        }),
        check_data: if R::CONNECTION_RULES.is_some() { Some(check_data::<R>) } else { None },
        check_message: if R::BROADCAST_RULES.is_some() { Some(check_message::<R>) } else { None },
        code: &Typed::<R>(PhantomData),
    };
}

/// The reason why a downcast cannot fail: the engine makes no values of its own, so all come from the room's [`Typed`].
const OWN_TYPE: &str = "the engine returns the room's own values";

/// Returns a value of the engine with its type.
#[expect(clippy::expect_used, reason = "the engine passes on the room's own values: tests/own_values.rs")]
pub(crate) fn typed<T: 'static>(value: Value) -> Rc<T> {
    value.downcast().expect(OWN_TYPE)
}

#[expect(clippy::expect_used, reason = "see `typed`")]
pub(crate) fn typed_ref<T: 'static>(value: &dyn Any) -> &T {
    value.downcast_ref().expect(OWN_TYPE)
}

/// Returns a value for a change. If a handler still holds a snapshot, the value is copied and the snapshot stays
/// unchanged.
#[expect(clippy::expect_used, reason = "see `typed`; the value was just made the only one")]
pub(crate) fn typed_mut<T: Clone + 'static>(value: &mut Value) -> &mut T {
    if Rc::get_mut(value).is_none() {
        *value = Rc::new(typed_ref::<T>(&**value).clone());
    }
    Rc::get_mut(value).and_then(|value| value.downcast_mut()).expect(OWN_TYPE)
}

/// Checks a peer's data by the room's rules.
fn check_data<R: Room>(data: &dyn Any) -> Result<(), Invalid> {
    check(R::CONNECTION_RULES, typed_ref(data), "the peer's data")
}

/// Checks a message by the room's rules.
fn check_message<R: Room>(message: &dyn Any) -> Result<(), Invalid> {
    check(R::BROADCAST_RULES, typed_ref(message), "the message")
}

/// Checks a message by the room's rules, and encodes it as JSON.
pub(crate) fn encode_broadcast<R: Room>(message: &R::Broadcast) -> Result<String, Error> {
    check(R::BROADCAST_RULES, message, "the message").map_err(Invalid::into_error)?;
    wire::encode_frame(message)
}

/// Checks an event by the room's rules, and returns the run of `on_event` and the cost of a peer's event.
fn handle<R: Room>(call: Invocation, event: R::Event) -> Result<(Handling, u32), Invalid> {
    check(R::EVENT_RULES, &event, "this event")?;
    // The Worker's events are free.
    let has_cost = R::LIMITS.rate_limit.is_some() && call.sender.is_some();
    let cost = if has_cost { R::event_cost(&event) } else { 1 };
    let ctx = RoomContext::<R>::new(call);
    Ok((Box::pin(async move { R::on_event(&ctx, event).await }), cost))
}

/// The parameters of a handler that runs for a peer.
fn with_peer<R: Room>(call: Invocation, peer: &Rc<Slot>) -> (RoomContext<R>, Peer<R>) {
    let peer = Peer::new(call.host.clone(), peer.clone());
    (RoomContext::new(call), peer)
}

/// The request of an `on_upgrade`. It reports the peer's id when it is dropped, however the handler ends.
struct Offered<R: Room> {
    request: UpgradeRequest<R>,
    to: Rc<RefCell<Option<PeerId>>>,
}

impl<R: Room> Drop for Offered<R> {
    fn drop(&mut self) {
        self.to.replace(Some(self.request.id.clone()));
    }
}

impl<R: Room> RoomCode for Typed<R> {
    fn decode_state(&self, json: &[u8]) -> Result<Value, Error> {
        wire::decode_value::<R::State>(json, "the room's stored state").map(|state| Rc::new(state) as Value)
    }

    fn encode_state(&self, state: &dyn Any) -> Result<Vec<u8>, Error> {
        wire::encode_value(typed_ref::<R::State>(state), "the room's state")
    }

    fn migrate(&self, version: u32, json: &[u8]) -> Result<Result<Value, Failure>, Error> {
        let value = wire::decode_value(json, "the room's stored state")?;
        Ok(R::migrate(version, value).map(|state| Rc::new(state) as Value))
    }

    fn decode_data(&self, json: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str::<R::Connection>(json).map(|data| Rc::new(data) as Value)
    }

    fn encode_data(&self, data: &dyn Any) -> Result<Box<RawValue>, Error> {
        wire::encode_raw(typed_ref::<R::Connection>(data), 1, "the peer's data")
    }

    fn init(&self, call: Invocation) -> Result<Value, Failure> {
        R::init(&RoomContext::new(call)).map(|state| Rc::new(state) as Value)
    }

    fn on_start(&self, call: Invocation) -> Handling {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_start(&ctx).await })
    }

    fn on_upgrade(&self, call: Invocation, offer: Offer) -> Handling<Asked, Rejection> {
        let Offer { asked, handshake, protocols, id: to } = offer;
        if !R::HAS_ON_UPGRADE {
            return Box::pin(async { Ok(asked) });
        }
        let ctx = RoomContext::<R>::new(call);
        let Asked { data, id, tags, meta, on_duplicate, resume, on_resume, protocol, offer } = asked;
        let request = UpgradeRequest {
            data: Rc::unwrap_or_clone(typed(data)),
            id,
            tags,
            on_duplicate,
            resume,
            on_resume,
            protocol,
            protocols,
            meta,
            handshake,
            head: OnceCell::new(),
        };
        let mut offered = Offered { request, to };
        Box::pin(async move {
            let outcome = R::on_upgrade(&ctx, &mut offered.request).await;
            outcome.map_err(Reject::into_rejection)?;
            let UpgradeRequest { data, id, tags, on_duplicate, resume, on_resume, protocol, meta, .. } =
                &mut offered.request;
            Ok(Asked {
                data: Rc::new(data.clone()),
                id: id.clone(),
                tags: mem::take(tags),
                meta: meta.take(),
                on_duplicate: *on_duplicate,
                resume: resume.take(),
                on_resume: *on_resume,
                protocol: protocol.take(),
                offer,
            })
        })
    }

    fn on_connect(&self, call: Invocation, peer: &Rc<Slot>) -> Handling {
        let (ctx, peer) = with_peer::<R>(call, peer);
        Box::pin(async move { R::on_connect(&ctx, &peer).await })
    }

    fn on_join(&self, call: Invocation, user: PeerId) -> Handling {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_join(&ctx, &user).await })
    }

    fn on_resume(&self, call: Invocation, peer: &Rc<Slot>) -> Handling {
        let (ctx, peer) = with_peer::<R>(call, peer);
        Box::pin(async move { R::on_resume(&ctx, &peer).await })
    }

    fn on_event(&self, call: Invocation, json: &str) -> Result<(Handling, u32), NoEvent<serde_json::Error>> {
        let event = wire::decode_event::<R::Event>(json).map_err(NoEvent::Malformed)?;
        handle::<R>(call, event).map_err(NoEvent::Invalid)
    }

    fn on_call(
        &self,
        call: Invocation,
        name: &str,
        arguments: Arguments<'_>,
        answering: Answering,
    ) -> Result<(Handling, &'static str), String> {
        calls::find::<R>(call, name, arguments, answering)
    }

    fn encode_message(&self, message: &dyn Any) -> Result<String, Error> {
        wire::encode_frame(typed_ref::<R::Broadcast>(message))
    }

    fn on_away(&self, call: Invocation, peer: &Rc<Slot>) -> Handling {
        let (ctx, peer) = with_peer::<R>(call, peer);
        Box::pin(async move { R::on_away(&ctx, &peer).await })
    }

    fn on_close(&self, call: Invocation, peer: &Rc<Slot>, close: Close) -> Handling {
        let (ctx, peer) = with_peer::<R>(call, peer);
        Box::pin(async move { R::on_close(&ctx, &peer, close).await })
    }

    fn on_leave(&self, call: Invocation, user: PeerId) -> Handling {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_leave(&ctx, &user).await })
    }

    fn on_alarm(&self, call: Invocation, json: &RawValue) -> Result<Handling, Error> {
        let alarm = wire::decode_value::<R::Alarm>(json.get().as_bytes(), "a stored alarm")?;
        let ctx = RoomContext::<R>::new(call);
        Ok(Box::pin(async move { R::on_alarm(&ctx, alarm).await }))
    }

    fn on_undelivered(&self, call: Invocation, json: &RawValue) -> Result<Handling, Error> {
        if !R::HAS_ON_UNDELIVERED {
            return Ok(Box::pin(async { Ok(()) }));
        }
        let undelivered = Undelivered::new(wire::decode_value(json.get().as_bytes(), "an undelivered call")?);
        let ctx = RoomContext::<R>::new(call);
        Ok(Box::pin(async move { R::on_undelivered(&ctx, &undelivered).await }))
    }

    fn on_request(&self, call: Invocation, request: Request<Bytes>) -> Handling<Response<Bytes>> {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_request(&ctx, request).await })
    }

    fn on_decode_error(&self, call: Invocation, error: DecodeError) -> Handling {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_decode_error(&ctx, &error).await })
    }

    fn on_error(&self, call: Invocation, error: HandlerError) -> Handling {
        let ctx = RoomContext::<R>::new(call);
        Box::pin(async move { R::on_error(&ctx, &error).await })
    }
}
