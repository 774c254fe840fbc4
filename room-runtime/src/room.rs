//! [`Room`]: what `#[room]` implements for a module, and what the engine calls.

use std::future::{Future, ready};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Close, Failure, Peer, RoomContext};

/// A room type: its four schemas and its handlers.
///
/// `#[room]` implements it for the marker type `Room` it adds to the annotated module. It can as well be implemented by
/// hand; every handler has a default that does nothing.
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
    /// and then learns of a dead connection, and keeps it alive through proxies. Each at most 2,048 characters.
    const HEARTBEAT: (&'static str, &'static str) = ("ping", "pong");

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

    /// The state of a room that has none yet.
    fn initial_state() -> Self::State;

    /// Once each time the object comes into memory, before anything else it handles.
    fn on_start(ctx: &RoomContext<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = ctx;
        ready(Ok(()))
    }

    /// Once per socket, before its first frame; never again when the room wakes from hibernation. A failure closes the
    /// socket with 1011, and no `on_close` follows.
    fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, peer);
        ready(Ok(()))
    }

    /// A frame that decoded, or the Worker's `send`; then [`RoomContext::sender`] is `None`.
    fn on_event(ctx: &RoomContext<Self>, event: Self::Event) -> impl Future<Output = Result<(), Failure>> {
        let _ = (ctx, event);
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
}
