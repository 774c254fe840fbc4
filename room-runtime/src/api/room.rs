//! [`Room`]: what `#[room]` implements for a module, and what the engine calls.

use std::future::{Future, ready};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Close, DecodeError, Failure, HandlerError, Limits, OnInvalid, Peer, Reject, RoomContext, UpgradeRequest};

/// A room type: its schemas and its handlers.
///
/// `#[room]` implements it for the marker type `Room` it adds to the annotated module. It can as well be implemented by
/// hand; every handler that starts with `on_` has a default that does nothing.
///
/// Handlers run one after the other for each peer; those of different peers may interleave where they await.
pub trait Room: Sized + 'static {
    /// The name of the room type, for example `chat`.
    const NAME: &'static str;
    /// The name of the Durable Object binding in the Worker's configuration, for example `CHAT`.
    const BINDING: &'static str;
    /// The name of the Durable Object class, for example `ChatRoom`.
    const CLASS: &'static str;
    /// A text frame, and the one that the platform answers it with, without waking the room. A client that pings now
    /// and then learns of a dead connection, and keeps it alive through proxies. Each at most 2,048 bytes.
    const HEARTBEAT: (&'static str, &'static str) = ("ping", "pong");
    /// What the room takes from outside.
    const LIMITS: Limits = Limits::DEFAULT;
    /// What becomes of a frame that is not an event.
    const ON_INVALID: OnInvalid = OnInvalid::Report;
    /// Whether what [`init`](Room::init) gives is stored at once, so that `init` runs once in the life of a room. Without
    /// it the first state is stored when it is first changed.
    const STORES_FIRST_STATE: bool = false;

    /// The version of the schema `State`. A stored state of a lower one goes through [`migrate`](Room::migrate).
    const STATE_VERSION: u32 = 0;
    /// How long a peer that lost its connection keeps its place: one that comes back in time, with its id and its
    /// [token](crate::Upgrade::resume), goes on where it was, and no `on_close` runs. 0: `on_close` runs at once.
    const RECONNECT_GRACE_MS: u64 = 0;
    /// How long a room that everyone has left is kept before it is purged; 0 is for ever.
    const PURGE_AFTER_MS: u64 = 0;

    /// How late the loss of a peer may be noticed after the object's process ended (a restart, a deploy, an eviction with its
    /// sockets) when nothing else brings the room into memory. Cloudflare tells nobody of such a loss, so an alarm stands
    /// while there are peers whose end matters: in a room with `on_close`, a
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS) or a [`PURGE_AFTER_MS`](Room::PURGE_AFTER_MS). Each such alarm is billed
    /// as one request and one written row.
    const WATCHDOG_MS: u64 = 300_000;

    /// How long a message to a peer that speaks [`room.v1`](crate::SUBPROTOCOL) may wait for others, to leave with them in
    /// one frame; 0 is not at all. It never waits behind a close, and a peer that does not speak it gets each at once.
    const BATCH_MS: u64 = 0;

    /// Whether the room has this handler; one that says no is not called. What only such handlers need takes no place in the
    /// room's wasm and no time: `#[room]` says it of each that the module does not have.
    const HAS_ON_UPGRADE: bool = true;
    /// As [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE). A room without it keeps no roster in storage, unless it has a
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS).
    const HAS_ON_CLOSE: bool = true;
    /// As [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    const HAS_ON_AWAY: bool = true;
    /// As [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE). What was scheduled before by code that had it stays until it is there
    /// again.
    const HAS_ON_ALARM: bool = true;
    /// As [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    const HAS_ON_REQUEST: bool = true;

    /// What the room remembers. Stored as JSON, at most 2 MB.
    type State: Serialize + DeserializeOwned + Clone + 'static;
    /// What the room remembers about one peer. Kept with its socket as JSON, at most
    /// [`Peer::MAX_DATA_BYTES`](crate::Peer::MAX_DATA_BYTES).
    type Connection: Serialize + DeserializeOwned + Clone + 'static;
    /// What peers, and the Worker, may say.
    type Event: Serialize + DeserializeOwned + 'static;
    /// What the room says to its peers.
    type Broadcast: Serialize + DeserializeOwned + 'static;
    /// What a scheduled alarm carries: `()` when there is only one kind of alarm.
    type Alarm: Serialize + DeserializeOwned + Clone + 'static;
    /// What the handlers use of the world outside, made once each time the object comes into memory: `()` when there is
    /// nothing.
    type Services: 'static;

    /// The state of a room that has none yet, made when it is first needed.
    ///
    /// # Errors
    /// A failure is the failure of whatever asked for the state, and `init` is tried again the next time.
    fn init(ctx: &RoomContext<Self>) -> Result<Self::State, Failure>;

    /// A state that was stored under a lower [`STATE_VERSION`](Room::STATE_VERSION), as JSON.
    ///
    /// # Errors
    /// Then every use of the state is an error, and what is stored stays as it is.
    fn migrate(version: u32, state: serde_json::Value) -> Result<Self::State, Failure> {
        let _ = state;
        Err(Failure::msg(format!("nothing is known of version {version}")))
    }

    /// The room's services, made from the Worker's bindings, variables and secrets. Tests give their own.
    ///
    /// # Errors
    /// Without its services a room handles nothing: whatever arrives is refused, and tries again.
    fn services(env: &worker::Env) -> Result<Self::Services, Failure>;

    /// Once each time the object comes into memory, before anything else it handles. After a failure the room handles nothing:
    /// each event is refused with [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted), and tries it again.
    fn on_start(ctx: &RoomContext<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = ctx;
        ready(Ok(()))
    }

    /// Before a socket is accepted: the place to authorise, to change the peer's data, id and tags, and to refuse. A
    /// refusal is the answer to the upgrade, and leaves no trace.
    fn on_upgrade(
        ctx: &RoomContext<Self>,
        upgrade: &mut UpgradeRequest<Self>,
    ) -> impl Future<Output = Result<(), Reject>> {
        let _ = (ctx, upgrade);
        ready(Ok(()))
    }

    /// Once per socket, before its first frame; never again when the room wakes from hibernation. A failure closes the
    /// socket with 1011, and no `on_close` follows.
    fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// A peer that lost its connection is back in time, and in its old place: in place of `on_connect`. A failure is
    /// reported and changes nothing.
    fn on_resume(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// A frame that decoded, or the Worker's `send`; then [`RoomContext::sender`] is `None`.
    fn on_event(ctx: &RoomContext<Self>, event: Self::Event) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, event);
        ready(Ok(()))
    }

    /// A peer has lost its connection, or left with 1001, and keeps its place for
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS): the moment to tell the others that it is reconnecting. It is no
    /// longer among [`RoomContext::peers`], and comes after its last frame. [`on_resume`](Room::on_resume) follows if it
    /// returns, [`on_close`](Room::on_close) if it does not.
    fn on_away(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// Once per connected peer, behind its last frame. It is no longer among [`RoomContext::peers`].
    fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, close: Close) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer, close);
        ready(Ok(()))
    }

    /// A scheduled alarm that is due. One that fails is logged and tried again, after 2 s and then ever later, up to an
    /// hour; so is one during which the object crashed.
    fn on_alarm(ctx: &RoomContext<Self>, alarm: Self::Alarm) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, alarm);
        ready(Ok(()))
    }

    /// HTTP that the Worker forwards with [`RoomHandle::request`](crate::RoomHandle::request). Without this handler the
    /// answer is 404.
    fn on_request(
        ctx: &RoomContext<Self>,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Bytes>, Failure>> {
        let _ = (ctx, request);
        ready(Ok(crate::wire::http_codec::text(http::StatusCode::NOT_FOUND, crate::wire::http_codec::NO_REQUESTS)))
    }

    /// A frame that is not an event. [`RoomContext::sender`] is who sent it.
    fn on_decode_error(ctx: &RoomContext<Self>, error: &DecodeError) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, error);
        ready(Ok(()))
    }

    /// Any other handler returned an error. [`RoomContext::sender`] is what it was for that handler.
    fn on_error(ctx: &RoomContext<Self>, error: &HandlerError) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, error);
        ready(Ok(()))
    }
}
