//! [`Room`]: the trait that `#[room]` implements for a module and that the engine calls.

use std::future::{Future, ready};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Close, Codecs, DecodeError, Failure, HandlerError, Limits, OnInvalid, Peer, PeerId, Reject, Replay, RoomContext,
    Undelivered, UpgradeRequest, Violations, api::calls::CallEntry,
};

/// A room type: its schemas and its handlers.
///
/// `#[room]` implements this trait for the marker type `Room` that it adds to the annotated module. You can also
/// implement it by hand: every handler whose name starts with `on_` has a default that does nothing.
///
/// The handlers of one peer run one after the other. Handlers of different peers can interleave where they await.
///
/// Without the macro, a room that sends each event back is:
///
/// ```
/// use room_runtime::{Failure, Room, RoomContext, Upgrade, testing::TestRoom};
///
/// enum Echo {}
///
/// impl Room for Echo {
///     const NAME: &'static str = "echo";
///     const BINDING: &'static str = "ECHO";
///     const CLASS: &'static str = "EchoRoom";
///     type State = ();
///     type Connection = ();
///     type Event = String;
///     type Broadcast = String;
///     type Alarm = ();
///     type Services = ();
///
///     fn init(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
///         Ok(())
///     }
///
///     fn services(_env: &worker::Env) -> Result<(), Failure> {
///         Ok(())
///     }
///
///     async fn on_event(ctx: &RoomContext<Self>, event: String) -> Result<(), Failure> {
///         ctx.broadcast(&event)?;
///         Ok(())
///     }
/// }
///
/// let ada = TestRoom::<Echo>::new("main").connect(Upgrade::new(()));
/// ada.send(&"hi".to_owned());
/// assert_eq!(ada.received(), ["hi"]);
/// ```
pub trait Room: Sized + 'static {
    /// The name of the room type, for example `chat`.
    const NAME: &'static str;
    /// The name of the Durable Object binding in the Worker's configuration, for example `CHAT`.
    const BINDING: &'static str;
    /// The name of the Durable Object class, for example `ChatRoom`.
    const CLASS: &'static str;
    /// The heartbeat: a text frame, and the text frame with which the platform answers it.
    ///
    /// The answer does not wake the room. A client that sends a heartbeat now and then notices a dead connection, and
    /// keeps the connection open through proxies. In a room with a [`PEER_TIMEOUT_MS`](Room::PEER_TIMEOUT_MS) clients have
    /// to send it. Each of the two has at most 2,048 bytes.
    const HEARTBEAT: (&'static str, &'static str) = ("ping", "pong");
    /// The limits for peers and their frames.
    const LIMITS: Limits = Limits::DEFAULT;
    /// The origins of the web pages that may open a WebSocket to the room; an empty list allows every origin.
    ///
    /// An origin is a scheme, a host and a port, `https://example.com` or `http://localhost:8787`. `https://` has the
    /// default port 443 and `http://` has 80. Upper and lower case are the same. A first label `*` stands for exactly
    /// one label: `https://*.example.com` allows `https://app.example.com`, but neither `https://example.com` nor
    /// `https://a.b.example.com`. `null`, the origin of sandboxed frames and local files, is allowed only if it is
    /// listed; any site can make a page of this origin. The origin of the Worker itself has to be listed too.
    ///
    /// [`RoomHandle::upgrade`](crate::RoomHandle::upgrade) answers the upgrade of another page with 403 and does not
    /// call the room. This protects a room whose Worker knows its users by a cookie: browsers send cookies with every
    /// WebSocket, also with that of a hostile page. It is no substitute for authentication. A request without an
    /// `origin` header passes, because every browser sends one with a WebSocket, and other clients can send any. The
    /// requests of `on_request` are not restricted: the Worker answers those with CORS headers of its own.
    const ALLOWED_ORIGINS: &'static [&'static str] = &[];
    /// The reaction to a frame that is not an event.
    const ON_INVALID: OnInvalid = OnInvalid::Report;
    /// True if the state that [`init`](Room::init) returns is stored at once.
    ///
    /// Then `init` runs once in the life of a room. Otherwise the first state is stored at its first change.
    const STORES_FIRST_STATE: bool = false;

    /// The functions that clients call. `#[room]` lists those with `#[call]`.
    #[doc(hidden)]
    const CALLS: &'static [CallEntry<Self>] = &[];

    /// The log from which clients of [`room.v1`](crate::SUBPROTOCOL) that resume get what they have missed. It needs a
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS).
    const REPLAY: Replay = Replay::NONE;

    /// The version of the schema `State`. A stored state of a lower version goes through [`migrate`](Room::migrate).
    const STATE_VERSION: u32 = 0;
    /// The time for which a peer that lost its connection keeps its place, in milliseconds.
    ///
    /// A peer that reconnects in time, with its id and its [token](crate::Upgrade::resume), takes its place again, and
    /// `on_close` does not run. With 0, `on_close` runs at once.
    const RECONNECT_GRACE_MS: u64 = 0;
    /// The time after the last peer has left until the room is purged, in milliseconds; 0 disables the purge.
    const PURGE_AFTER_MS: u64 = 0;

    /// The longest time until the room notices peers that it lost with its process, in milliseconds.
    ///
    /// A restart, a deploy, or an eviction together with the sockets ends connections, and Cloudflare does not report
    /// it. An alarm, the watchdog, therefore loads the room if no event does. The alarm is set while the room has peers
    /// whose end matters: in a room with `on_close`, `on_join`, `on_leave`, a
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS) or a [`PURGE_AFTER_MS`](Room::PURGE_AFTER_MS). Each such alarm is billed as one request and one written row.
    const WATCHDOG_MS: u64 = 300_000;

    /// The time without a sign of life after which a peer is closed as lost, in milliseconds; 0 is no limit.
    ///
    /// The signs of life are a frame and a [heartbeat](Room::HEARTBEAT), so clients have to send one of them in time.
    /// The platform answers heartbeats without waking the room. An alarm, set while peers are connected, finds a silent
    /// peer. It is never closed early, and at the latest after 1.25 times this time.
    ///
    /// The peer is treated as one whose connection is lost: it keeps its place for the
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS), or [`on_close`](Room::on_close) runs with the code 1006. A client
    /// that is still there gets the close [`CloseCode::TIMEOUT`](crate::CloseCode::TIMEOUT), 3008.
    const PEER_TIMEOUT_MS: u64 = 0;

    /// The time for which a message can wait for others to share a frame with, in milliseconds.
    ///
    /// It applies to peers that speak [`room.v1`](crate::SUBPROTOCOL); every other peer gets each message at once. With
    /// 0, no message waits. Waiting messages are sent before the room closes the connection.
    const BATCH_MS: u64 = 0;

    /// The age at which a [durable call](crate::SiblingCall::durably) is given up, in milliseconds.
    ///
    /// A call that fails is repeated for this time, and then goes to [`on_undelivered`](Room::on_undelivered). Each call is
    /// tried at least once after its target was reached again. The default is a day.
    const OUTBOX_TIMEOUT_MS: u64 = 86_400_000;

    /// The time for which the room remembers a session of [`room.v1`](crate::SUBPROTOCOL) after its last number, in
    /// milliseconds. The default is a day.
    const SESSION_TIMEOUT_MS: u64 = 86_400_000;

    /// The codecs of the room's events and messages. A client that chooses none by a
    /// [subprotocol](crate::Codec::protocol) gets the first.
    ///
    /// A message to peers of both codecs is encoded once for each. Storage, and the calls between Worker and room, use
    /// JSON.
    const CODECS: Codecs = Codecs::JSON;

    /// The rules for an event, beyond its type; the option `validate(event)` of `#[room]` sets them.
    ///
    /// The room checks an event after it is decoded and before `on_event`. An event that breaks a rule changes nothing: the
    /// sender of the frame gets an error frame, `on_decode_error` runs, and the Worker's `send` fails with
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    const EVENT_RULES: Option<fn(&Self::Event) -> Violations> = None;
    /// The rules for the data of a peer, beyond its type; the option `validate(connection)` of `#[room]` sets them.
    ///
    /// The room checks the data of an upgrade before and after `on_upgrade`, and each change by `set_data` and
    /// `update_data`. It does not check stored data, which was valid by the rules of its time.
    const CONNECTION_RULES: Option<fn(&Self::Connection) -> Violations> = None;
    /// The rules for a message to peers, beyond its type; the option `validate(broadcast)` of `#[room]` sets them.
    ///
    /// A message that breaks a rule is an error of the call that sends it, and no peer gets it.
    const BROADCAST_RULES: Option<fn(&Self::Broadcast) -> Violations> = None;

    /// True if the room has `on_upgrade`; otherwise the engine does not call it.
    ///
    /// A missing handler costs no time, and code that only it needs is not in the room's wasm. `#[room]` sets the
    /// constant to `false` for each handler that the module does not have.
    #[doc(hidden)]
    const HAS_ON_UPGRADE: bool = true;
    /// True if the room has `on_join`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    ///
    /// A room without it and without `on_leave` stores nothing for each user.
    #[doc(hidden)]
    const HAS_ON_JOIN: bool = true;
    /// True if the room has `on_leave`, as for [`HAS_ON_JOIN`](Room::HAS_ON_JOIN).
    #[doc(hidden)]
    const HAS_ON_LEAVE: bool = true;
    /// True if the room has `on_close`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    ///
    /// A room without it keeps no roster in storage, unless it has `on_join`, `on_leave` or a
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS).
    #[doc(hidden)]
    const HAS_ON_CLOSE: bool = true;
    /// True if the room has `on_away`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    #[doc(hidden)]
    const HAS_ON_AWAY: bool = true;
    /// True if the room has `on_alarm`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    ///
    /// Schedules of an earlier deploy that had the handler stay in storage until a deploy has it again.
    #[doc(hidden)]
    const HAS_ON_ALARM: bool = true;
    /// True if the room has `on_undelivered`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    ///
    /// Durable calls of an earlier deploy that had the handler stay in storage until a deploy has it again.
    #[doc(hidden)]
    const HAS_ON_UNDELIVERED: bool = true;
    /// True if the room has `on_binary`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    ///
    /// Without it, a binary frame of a peer that speaks JSON is not an event. A room that is written by hand with an
    /// `on_binary` sets it to true.
    const HAS_ON_BINARY: bool = false;
    /// True if the room has `on_request`, as for [`HAS_ON_UPGRADE`](Room::HAS_ON_UPGRADE).
    #[doc(hidden)]
    const HAS_ON_REQUEST: bool = true;

    /// The state of the room. It is stored as JSON of at most 2 MB.
    type State: Serialize + DeserializeOwned + Clone + 'static;
    /// The data of one peer. It is stored with the peer's socket as JSON, of at most
    /// [`Peer::MAX_DATA_BYTES`](crate::Peer::MAX_DATA_BYTES).
    type Connection: Serialize + DeserializeOwned + Clone + 'static;
    /// The events that peers and the Worker send to the room.
    type Event: Serialize + DeserializeOwned + 'static;
    /// The messages that the room sends to its peers.
    type Broadcast: Serialize + DeserializeOwned + 'static;
    /// The data of a scheduled alarm: `()` in a room with only one kind of alarm.
    type Alarm: Serialize + DeserializeOwned + Clone + 'static;
    /// The external services that handlers use, made each time the object is loaded into memory: `()` for none.
    type Services: 'static;

    /// Returns the first state of a room. It runs when the room has no state yet and needs one.
    ///
    /// # Errors
    /// The operation that needed the state fails with the error of `init`. The next one runs `init` again.
    fn init(ctx: &RoomContext<Self>) -> Result<Self::State, Failure>;

    /// Converts a state, as JSON, that was stored under a lower [`STATE_VERSION`](Room::STATE_VERSION).
    ///
    /// # Errors
    /// After an error every use of the state fails, and the stored state stays unchanged.
    fn migrate(version: u32, state: serde_json::Value) -> Result<Self::State, Failure> {
        let _ = state;
        Err(Failure::msg(format!("nothing is known of version {version}")))
    }

    /// Returns the room's services, made from the Worker's bindings, variables and secrets. Tests provide their own.
    ///
    /// # Errors
    /// A room without its services handles nothing. It refuses each event, and each event runs `services` again.
    fn services(env: &worker::Env) -> Result<Self::Services, Failure>;

    /// Runs each time the object is loaded into memory, before the room handles anything else.
    ///
    /// After an error the room handles nothing. It refuses each event with
    /// [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted), and each event runs `on_start` again.
    fn on_start(ctx: &RoomContext<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = ctx;
        ready(Ok(()))
    }

    /// Runs before the room accepts a socket.
    ///
    /// It can authorize the client, change the peer's data, id and tags, and refuse the upgrade. A refusal is the
    /// response to the upgrade, and the room keeps nothing of it.
    fn on_upgrade(
        ctx: &RoomContext<Self>,
        upgrade: &mut UpgradeRequest<Self>,
    ) -> impl Future<Output = Result<(), Reject>> {
        let _ = (ctx, upgrade);
        ready(Ok(()))
    }

    /// Runs once for each socket, before its first frame is handled.
    ///
    /// It does not run again when the room wakes from hibernation. An error closes the socket with 1011, a
    /// [refusal](RoomContext::refuse) with 1008, and `on_close` does not run.
    fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// Runs when a user joins: for the first connection of a peer id, after the success of its `on_connect`.
    ///
    /// A user is all connections with the same peer id, for example several tabs of a browser. The handler ends before
    /// the first frame of the user is handled. [`RoomContext::sender`] is the peer, and [`RoomContext::presence`]
    /// contains the user. It does not run for a user that has any place in the room: a connection, a place that is kept
    /// for a reconnect, or a connection whose `on_close` has not begun.
    ///
    /// For each user, `on_join` and [`on_leave`](Room::on_leave) alternate, and neither begins while the other runs. An
    /// error is reported and changes nothing. A crash during the handler does not run it again; after a crash before it
    /// begins, it runs when the room is next loaded.
    fn on_join(ctx: &RoomContext<Self>, user: &PeerId) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, user);
        ready(Ok(()))
    }

    /// Runs in place of `on_connect` for a peer that reconnected in time and has its place again.
    ///
    /// An error is reported and changes nothing. A [refusal](RoomContext::refuse) closes the socket with 1008.
    fn on_resume(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// Handles an event: a frame of a peer, or the Worker's `send`, for which [`RoomContext::sender`] is `None`.
    fn on_event(ctx: &RoomContext<Self>, event: Self::Event) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, event);
        ready(Ok(()))
    }

    /// Returns the cost of an event of a peer, in tokens of the [rate limit](crate::Limits::rate_limit).
    ///
    /// It runs before `on_event`, in a room with a rate limit. One token is taken before the frame is decoded, and the
    /// rest of the cost after that. If too few tokens are left, `on_event` does not run, and the sender gets an error
    /// frame with `retry_after_ms`. The first token stays spent, because the room has decoded the frame. A cost of 0
    /// gives the first token back. An event that costs more than the burst is never handled: its error frame has no
    /// `retry_after_ms`. The Worker's events are free.
    fn event_cost(event: &Self::Event) -> u32 {
        let _ = event;
        1
    }

    /// Runs when a peer loses its connection, or closes it with 1001, and keeps its place.
    ///
    /// It can announce to the others that the peer is reconnecting. The place is kept for
    /// [`RECONNECT_GRACE_MS`](Room::RECONNECT_GRACE_MS). The peer is no longer among [`RoomContext::peers`], and its
    /// last frame has been handled. [`on_resume`](Room::on_resume) follows if the peer reconnects,
    /// [`on_close`](Room::on_close) if it does not.
    fn on_away(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// Runs once for each connected peer, after its last frame. The peer is no longer among [`RoomContext::peers`].
    fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, close: Close) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer, close);
        ready(Ok(()))
    }

    /// Runs when a user leaves: after the `on_close` of its last place, unless the user is back by then.
    ///
    /// A user that is away and can still reconnect has not left. [`RoomContext::presence`] does not contain the user.
    /// [`RoomContext::sender`] is the peer that had the last place; it is `None` if the data of this peer cannot be read
    /// after a change of its schema.
    ///
    /// A crash during the handler does not run it again; after a crash before it begins, it runs when the room is next
    /// loaded. A [purge](RoomContext::purge) ends the visits of all users without `on_leave`.
    fn on_leave(ctx: &RoomContext<Self>, user: &PeerId) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, user);
        ready(Ok(()))
    }

    /// Handles a scheduled alarm that is due.
    ///
    /// An alarm is logged and retried if the handler fails, or if the object crashes during it: after 2 s at first,
    /// with a back-off of up to an hour.
    fn on_alarm(ctx: &RoomContext<Self>, alarm: Self::Alarm) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, alarm);
        ready(Ok(()))
    }

    /// Runs for a [durable call](crate::SiblingCall::durably) that was given up.
    ///
    /// The call is no longer in the outbox, and the calls behind it go on. If the handler fails, or the object crashes
    /// during it, it runs again: after 2 s at first, with a back-off of up to an hour.
    fn on_undelivered(ctx: &RoomContext<Self>, undelivered: &Undelivered) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, undelivered);
        ready(Ok(()))
    }

    /// Handles a binary frame of a peer, in a room with a binary protocol of its own.
    ///
    /// The frame has the limits of an event: its size, its rate, and its place in the order of the peer's frames. The
    /// platform's copy into the wasm memory is the only one; a clone or a slice of `bytes` shares it.
    /// [`Peer::send_bytes`](crate::Peer::send_bytes) answers.
    ///
    /// A failure is reported like that of [`on_event`](Room::on_event). Peers that speak
    /// [MessagePack](crate::Codec::MessagePack) send their events as binary frames, so a room cannot have both.
    fn on_binary(ctx: &RoomContext<Self>, bytes: Bytes) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, bytes);
        ready(Ok(()))
    }

    /// Answers an HTTP request that the Worker forwards with [`RoomHandle::request`](crate::RoomHandle::request).
    ///
    /// A room without this handler answers 404.
    fn on_request(
        ctx: &RoomContext<Self>,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<http::Response<Bytes>, Failure>> {
        let _ = (ctx, request);
        ready(Ok(crate::wire::http_codec::text(http::StatusCode::NOT_FOUND, crate::wire::http_codec::NO_REQUESTS)))
    }

    /// Runs for a frame that is not an event. [`RoomContext::sender`] is the peer that sent it.
    fn on_decode_error(ctx: &RoomContext<Self>, error: &DecodeError) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, error);
        ready(Ok(()))
    }

    /// Runs after another handler has returned an error. [`RoomContext::sender`] is the same as in that handler.
    fn on_error(ctx: &RoomContext<Self>, error: &HandlerError) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, error);
        ready(Ok(()))
    }
}
