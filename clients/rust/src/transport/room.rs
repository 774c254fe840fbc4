//! [`RoomTransport`]: a connection through the handle of a room.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_sink::Sink;
use room_runtime::{
    __private::{Caller, CallerError, ClientClock, ErrorOf, RoomCall, ValueOf},
    CloseCode, Codec as RoomCodec, RawFrame, RawSocket, Room, RoomHandle, Upgrade,
};

use super::{ConnectError, Frame, Socket, Transport, UpgradeRequest};
use crate::{Builder, Client, Codec, Driver, Messages, PendingCall, error::BoxError};

/// The connection of a program that has the [`RoomHandle`] of the room, from [`Builder::connect_room`].
///
/// In a Worker and in another room it is a WebSocket of the platform. In a native test it is one of the test's world, with
/// its time. It ignores the address of the endpoint, and its headers.
///
/// [`Builder::connect_room`] makes it, with the types of the room. A program that has types of its own gives them:
///
/// ```
/// use room_client::{Builder, RoomTransport};
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
///
/// #[derive(serde::Serialize)]
/// #[serde(tag = "type")]
/// enum MyEvent<'a> {
///     Say { text: &'a str },
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// let transport = RoomTransport::new(room.handle(), || Upgrade::new(Connection {}).id("bot"));
/// let (client, messages, driver) = Builder::default().connect_with::<MyEvent, Broadcast, _>(transport);
/// room.world().spawn(driver);
/// room.world().block_on(client.send(&MyEvent::Say { text: "hi" }))?;
/// # Ok(())
/// # }
/// ```
pub struct RoomTransport<R, F> {
    room: RoomHandle<R>,
    upgrade: F,
    clock: ClientClock,
}

impl<R: Room, F: Fn() -> Upgrade<R::Connection>> RoomTransport<R, F> {
    /// Creates the transport. `upgrade` is called for each attempt to connect.
    pub fn new(room: RoomHandle<R>, upgrade: F) -> Self {
        let clock = room.clock();
        RoomTransport { room, upgrade, clock }
    }
}

impl<R: Room, F: Fn() -> Upgrade<R::Connection>> Transport for RoomTransport<R, F> {
    type Socket = RoomTransportSocket;
    type Connect = Pin<Box<dyn Future<Output = Result<RoomTransportSocket, ConnectError>> + Send>>;
    type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn connect(&self, request: UpgradeRequest) -> Self::Connect {
        let offered: Vec<&str> = request.protocols.iter().map(String::as_str).collect();
        let connecting = self.room.connect_raw((self.upgrade)(), &offered);
        Box::pin(async move {
            let socket = connecting.await.map_err(of_the_room)?;
            Ok(RoomTransportSocket { socket })
        })
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.now_ms())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.clock.sleep(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    fn seed(&self) -> u64 {
        self.clock.random()
    }
}

/// The client tries again unless the error is a mistake of the program, or a refusal that does not pass.
fn of_the_room(error: room_runtime::Error) -> ConnectError {
    use room_runtime::ErrorKind::*;
    match error.kind() {
        AttachmentTooLarge | Binding | Encode | InvalidPeerId | InvalidProtocol | InvalidRoomId | InvalidTag => {
            ConnectError::endpoint(error)
        }
        Refused | Invalid | Handler => ConnectError::refused(error.status().as_u16(), &error.to_string(), None),
        _ => ConnectError::network(error),
    }
}

impl<R: Room, F> fmt::Debug for RoomTransport<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomTransport").field("room", &self.room).finish_non_exhaustive()
    }
}

/// A socket of [`RoomTransport`].
///
/// Programs name it only in a transport of their own that wraps it:
///
/// ```
/// use room_client::{RoomTransportSocket, Socket as _};
///
/// /// The codec of a connection, for a log.
/// fn codec(socket: &RoomTransportSocket) -> &'static str {
///     if socket.protocol() == Some("room.v1.msgpack") { "MessagePack" } else { "JSON" }
/// }
/// ```
#[derive(Debug)]
pub struct RoomTransportSocket {
    socket: RawSocket,
}

impl Socket for RoomTransportSocket {
    fn protocol(&self) -> Option<&str> {
        self.socket.protocol()
    }
}

impl Stream for RoomTransportSocket {
    type Item = Result<Frame, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            Some(RawFrame::Text(text)) => Some(Ok(Frame::Text(text))),
            Some(RawFrame::Binary(bytes)) => Some(Ok(Frame::Binary(bytes.into()))),
            // A connection that was lost ends the stream.
            Some(RawFrame::Close(close)) if close.code == 1006 => None,
            Some(RawFrame::Close(close)) => Some(Ok(Frame::Close { code: close.code, reason: close.reason })),
            Some(other) => Some(Err(format!("an unknown frame: {other:?}").into())),
            None => None,
        })
    }
}

impl Sink<Frame> for RoomTransportSocket {
    type Error = BoxError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        match frame {
            Frame::Text(text) => self.socket.send(text)?,
            Frame::Binary(bytes) => self.socket.send_bytes(bytes)?,
            Frame::Close { code, reason } => self.socket.close(CloseCode::new(code)?, &reason)?,
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(self.socket.close(CloseCode::NORMAL, "").map_err(Into::into))
    }
}

impl Builder {
    /// Connects through the handle of a room, which a Worker, another room or a native test has: with the room's types, and
    /// with the codec that the room prefers.
    ///
    /// `upgrade` makes the data, the id and the tags of the peer for each attempt to connect. The session resumes by itself,
    /// so it needs no [`Upgrade::resume`]. The program has to run the driver: in a Worker by `ctx.wait_until`, in a room by
    /// `ctx.spawn`, and in a test by `World::spawn`.
    ///
    /// The methods of the room's trait `Calls` are also those of the client.
    ///
    /// ```
    /// use room_client::{Builder, Incoming};
    /// use room_runtime::{prelude::*, testing::TestRoom};
    ///
    /// #[room]
    /// mod chat {
    ///     use room_runtime::prelude::*;
    ///
    ///     #[derive(Default)]
    ///     pub struct State { pub topic: String }
    ///     pub struct Connection {}
    ///     pub enum Event { Say { text: String } }
    ///     pub enum Broadcast { Said { text: String } }
    ///
    ///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
    ///         let Event::Say { text } = event;
    ///         ctx.broadcast(&Broadcast::Said { text })?;
    ///         Ok(())
    ///     }
    ///
    ///     #[call]
    ///     pub fn set_topic(ctx: &Ctx, topic: String) -> Result<usize> {
    ///         Ok(ctx.update(|state| { state.topic = topic; state.topic.len() })?)
    ///     }
    /// }
    /// use chat::{Calls as _, Connection, Event};
    ///
    /// let room = TestRoom::<chat::Room>::new("main");
    /// let (client, mut messages, driver) =
    ///     Builder::default().connect_room(room.handle(), || Upgrade::new(Connection {}).id("ada"));
    /// room.world().spawn(driver);
    /// room.world().block_on(async {
    ///     client.send(&Event::Say { text: "hi".to_owned() }).await?;
    ///     assert_eq!(client.set_topic("tea".to_owned()).await?, 3);
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// }).unwrap();
    /// ```
    #[expect(clippy::type_complexity, reason = "each part has a name of its own")]
    pub fn connect_room<R, F>(
        mut self,
        room: RoomHandle<R>,
        upgrade: F,
    ) -> (Client<R::Event>, Messages<R::Broadcast>, Driver<RoomTransport<R, F>>)
    where
        R: Room,
        F: Fn() -> Upgrade<R::Connection>,
    {
        if let Some(codec) = preferred_codec(R::CODECS.all()) {
            self = self.codec(codec);
        }
        self.connect_with(RoomTransport::new(room, upgrade))
    }
}

/// The codec that the room lists first, if this build has it.
fn preferred_codec(codecs: &[RoomCodec]) -> Option<Codec> {
    match codecs.first() {
        #[cfg(feature = "msgpack")]
        Some(RoomCodec::MessagePack) => Some(Codec::MessagePack),
        _ => None,
    }
}

impl<R: Room> Caller<R> for Client<R::Event> {
    type Returned<K: RoomCall<Room = R>> = PendingCall<ValueOf<K>, <ErrorOf<K> as CallerError>::Own>;

    fn call_function<K: RoomCall<Room = R>>(&self, call: K) -> Self::Returned<K> {
        self.call(K::NAME, &call)
    }
}
