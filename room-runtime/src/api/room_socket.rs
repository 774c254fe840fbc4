//! [`RoomSocket`]: the connection of a peer that is a program.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::{
    Close, CloseCode, Codec, Error, ErrorKind, Room,
    platform::socket::{Arrival, ClientSocket},
    types::brief::brief,
    wire,
};

/// A connection to a room, with the room's types, from [`RoomHandle::connect`](crate::RoomHandle::connect).
///
/// If the value is dropped, the platform decides when the connection ends; [`close`](RoomSocket::close) closes it at
/// once.
///
/// It is also a [`Stream`] of the room's messages, so that a Worker can use the combinators of `futures_util::StreamExt`
/// or wait for several rooms at a time. An item is that of [`receive`](RoomSocket::receive), and an error does not end the
/// stream. The stream ends after either side has closed the connection.
///
/// ```
/// use futures_util::StreamExt;
/// # use room_runtime::{CloseCode, Error, Room, RoomHandle, Upgrade};
///
/// # async fn example<R: Room>(room: RoomHandle<R>, data: R::Connection, event: R::Event) -> Result<(), Error> {
/// let mut socket = room.connect(Upgrade::new(data)).await?;
/// socket.send(&event)?;
/// while let Some(message) = socket.next().await {
///     let message: R::Broadcast = message?;
///     // Use the message.
/// }
/// let close = socket.closed();
/// # Ok(())
/// # }
/// ```
pub struct RoomSocket<R> {
    socket: ClientSocket,
    closed: Option<Close>,
    resume_token: Option<String>,
    room: PhantomData<fn() -> R>,
}

/// A frame of a room that is not an error, from [`RoomSocket::receive_any`].
///
/// ```
/// use room_runtime::{Incoming, RoomHandle, prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod canvas {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Size { width: u32 } }
///     // The room's schemas are here.
///     pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
///         peer.send(&Broadcast::Size { width: 2 })?;
///         peer.send_bytes(&[0xff, 0x00])?;
///         Ok(())
///     }
/// }
///
/// /// Returns the width and the pixels of a canvas.
/// async fn read(room: RoomHandle<canvas::Room>) -> Result<(u32, Vec<u8>), room_runtime::Error> {
///     let mut socket = room.connect(Upgrade::new(canvas::Connection {})).await?;
///     let mut size = 0;
///     loop {
///         match socket.receive_any().await? {
///             Some(Incoming::Message(canvas::Broadcast::Size { width })) => size = width,
///             Some(Incoming::Bytes(pixels)) => return Ok((size, pixels.to_vec())),
///             _ => return Ok((size, Vec::new())),
///         }
///     }
/// }
/// # fn main() -> Result<(), room_runtime::Error> {
/// #     let room = TestRoom::<canvas::Room>::new("main");
/// #     assert_eq!(room.world().block_on(read(room.handle()))?, (2, vec![0xff, 0x00]));
/// #     Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming<B> {
    /// A message of the room.
    Message(B),
    /// A binary frame of [`Peer::send_bytes`](crate::Peer::send_bytes).
    Bytes(Bytes),
}

impl<R: Room> RoomSocket<R> {
    /// True if the room's first codec is MessagePack, because the connection chooses no other.
    const IS_PACKED: bool = Codec::begins_with_message_pack(R::CODECS.all());

    pub(crate) fn new(socket: ClientSocket) -> Self {
        RoomSocket { socket, closed: None, resume_token: None, room: PhantomData }
    }

    /// Sends an event to the room.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] if the event is not serializable, [`ErrorKind::PeerGone`] if the connection is
    /// closed, and [`ErrorKind::Send`] if the socket does not accept it.
    pub fn send(&self, event: &R::Event) -> Result<(), Error> {
        self.check_open()?;
        match Self::IS_PACKED {
            true => self.socket.send(wire::msgpack::encode_event(event)?.into()),
            false => self.socket.send(wire::encode_event(event)?.into()),
        }
    }

    /// Sends the room's [heartbeat](crate::Room::HEARTBEAT), which the platform answers without waking the room.
    ///
    /// The runtime sends no heartbeats on its own. In a room with a [`peer_timeout`](crate::Room::PEER_TIMEOUT_MS), a
    /// Worker that only listens has to call this in time: two or three times within the timeout.
    /// [`receive`](RoomSocket::receive) skips the answer.
    ///
    /// # Errors
    /// [`ErrorKind::PeerGone`] if the connection is closed, and [`ErrorKind::Send`] if the socket does not accept the
    /// heartbeat.
    pub fn heartbeat(&self) -> Result<(), Error> {
        self.check_open()?;
        self.socket.send(R::HEARTBEAT.0.to_owned().into())
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.closed {
            Some(_) => Err(Error::new(ErrorKind::PeerGone, "the connection is closed")),
            None => Ok(()),
        }
    }

    /// Sends a binary frame to the room, for a room with `on_binary`.
    ///
    /// # Errors
    /// [`ErrorKind::PeerGone`] if the connection is closed, and [`ErrorKind::Send`] if the socket does not accept it.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        self.check_open()?;
        self.socket.send(bytes.to_vec().into())
    }

    /// Returns the next message; `None` after either side has closed the connection.
    ///
    /// The frame with the [`resume_token`](RoomSocket::resume_token) and the answers to
    /// [heartbeats](RoomSocket::heartbeat) are not messages.
    ///
    /// # Errors
    /// - The error frame of the room for an event that it could not handle: [`ErrorKind::Decode`],
    ///   [`ErrorKind::Invalid`], [`ErrorKind::TooLarge`], [`ErrorKind::RateLimited`], [`ErrorKind::Overloaded`], [`ErrorKind::Refused`],
    ///   [`ErrorKind::Services`] or [`ErrorKind::Restarted`].
    /// - [`ErrorKind::Decode`] for a message that is not a `Broadcast`.
    ///
    /// The connection stays open.
    pub async fn receive(&mut self) -> Result<Option<R::Broadcast>, Error> {
        poll_fn(|cx| self.poll_receive(cx)).await.transpose()
    }

    /// Returns the next message or binary frame; `None` after either side has closed the connection.
    ///
    /// In a room that speaks [MessagePack](Codec::MessagePack) first, every binary frame is a message.
    ///
    /// # Errors
    /// The errors of [`receive`](RoomSocket::receive).
    pub async fn receive_any(&mut self) -> Result<Option<Incoming<R::Broadcast>>, Error> {
        poll_fn(|cx| self.poll_any(cx)).await.transpose()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R::Broadcast, Error>>> {
        let any = ready!(self.poll_any(cx));
        Poll::Ready(any.map(|any| match any? {
            Incoming::Message(message) => Ok(message),
            Incoming::Bytes(bytes) => {
                let message = format!("a binary frame of {} bytes, which `receive_any` returns", bytes.len());
                Err(Error::new(ErrorKind::Decode, message))
            }
        }))
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming<R::Broadcast>, Error>>> {
        if self.closed.is_some() {
            return Poll::Ready(None);
        }
        loop {
            let received = match ready!(self.socket.poll_receive(cx)) {
                Arrival::Text(text) if text == R::HEARTBEAT.1 => continue,
                Arrival::Text(text) => decode(&text),
                Arrival::Binary(bytes) if Self::IS_PACKED => decode_packed(&bytes),
                Arrival::Binary(bytes) => return Poll::Ready(Some(Ok(Incoming::Bytes(bytes.into())))),
                Arrival::Closed(close) => {
                    self.closed = Some(close);
                    return Poll::Ready(None);
                }
            };
            match received {
                Ok(Received::Message(message)) => return Poll::Ready(Some(Ok(Incoming::Message(message)))),
                Ok(Received::ResumeToken(token)) => self.resume_token = Some(token),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The token for [`Upgrade::resume`](crate::Upgrade::resume), in a room with a grace.
    ///
    /// A room with a [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS) sends the token in its first frame. It is
    /// known after [`receive`](RoomSocket::receive) has returned something.
    pub fn resume_token(&self) -> Option<&str> {
        self.resume_token.as_deref()
    }

    /// The close of the connection, after [`receive`](RoomSocket::receive) has returned `None`.
    pub fn closed(&self) -> Option<&Close> {
        self.closed.as_ref()
    }

    /// Closes the connection. Messages that are on their way can still be received.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`] if the reason is too long.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        crate::types::close::check_reason(reason)?;
        self.socket.close(code, reason)
    }
}

/// The room's messages, as [`receive`](RoomSocket::receive) returns them.
impl<R: Room> Stream for RoomSocket<R> {
    type Item = Result<R::Broadcast, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_receive(cx)
    }
}

impl<R: Room> fmt::Debug for RoomSocket<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSocket").field("name", &R::NAME).field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// A frame of the room that is not an error.
pub(crate) enum Received<B> {
    Message(B),
    ResumeToken(String),
}

/// Decodes a message of the room or a frame of the runtime.
pub(crate) fn decode<B: DeserializeOwned>(text: &str) -> Result<Received<B>, Error> {
    match wire::Notice::parse(text) {
        Some(notice) => of_the_runtime(notice),
        None => wire::decode_value(text.as_bytes(), "the room's message").map(Received::Message),
    }
}

/// Decodes a message of the room or a frame of the runtime from MessagePack.
pub(crate) fn decode_packed<B: DeserializeOwned>(bytes: &[u8]) -> Result<Received<B>, Error> {
    let frame = wire::unpack_notice(bytes);
    if let Some(notice) = frame.as_deref().and_then(wire::Notice::parse) {
        return of_the_runtime(notice);
    }
    let message = wire::msgpack::decode_message(bytes).map_err(|fault| {
        Error::new(ErrorKind::Decode, format!("the room's message does not decode: {}", brief(fault)))
    });
    message.map(Received::Message)
}

fn of_the_runtime<B>(notice: wire::Notice<'_>) -> Result<Received<B>, Error> {
    match notice {
        wire::Notice::Error { code, message, violations, .. } => {
            Err(Error::new(code, message).with_violations(violations.into_owned()))
        }
        wire::Notice::Resume(token) => Ok(Received::ResumeToken(token.into_owned())),
    }
}
