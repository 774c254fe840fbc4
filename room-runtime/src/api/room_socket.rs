//! [`RoomSocket`]: the connection of a peer that is a program.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use crate::{
    Close, CloseCode, Error, ErrorKind, Room,
    platform::socket::{Arrival, ClientSocket},
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

impl<R: Room> RoomSocket<R> {
    pub(crate) fn new(socket: ClientSocket) -> Self {
        RoomSocket { socket, closed: None, resume_token: None, room: PhantomData }
    }

    /// Sends an event to the room.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] if the event is not serializable as JSON, [`ErrorKind::PeerGone`] if the connection is
    /// closed, and [`ErrorKind::Send`] if the socket does not accept it.
    pub fn send(&self, event: &R::Event) -> Result<(), Error> {
        if self.closed.is_some() {
            return Err(Error::new(ErrorKind::PeerGone, "the connection is closed"));
        }
        let text = wire::encode_event(event)?;
        match &self.socket {
            ClientSocket::Cloudflare(socket) => socket.send(&text),
            #[cfg(not(target_arch = "wasm32"))]
            ClientSocket::Memory(socket) => socket.send(text),
        }
    }

    /// Returns the next message; `None` after either side has closed the connection.
    ///
    /// The frame with the [`resume_token`](RoomSocket::resume_token) is not a message.
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

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R::Broadcast, Error>>> {
        if self.closed.is_some() {
            return Poll::Ready(None);
        }
        loop {
            let arrival = match &mut self.socket {
                // The future is new at each poll. It holds no message: those are in the channel until it is ready.
                ClientSocket::Cloudflare(socket) => pin!(socket.receive()).poll(cx),
                #[cfg(not(target_arch = "wasm32"))]
                ClientSocket::Memory(socket) => socket.poll_receive(cx),
            };
            match ready!(arrival) {
                Arrival::Text(text) => match decode(&text) {
                    Ok(Received::Message(message)) => return Poll::Ready(Some(Ok(message))),
                    Ok(Received::ResumeToken(token)) => self.resume_token = Some(token),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Arrival::Binary(bytes) => {
                    let message = format!("a binary frame of {bytes} bytes, where JSON text is spoken");
                    return Poll::Ready(Some(Err(Error::new(ErrorKind::Decode, message))));
                }
                Arrival::Closed(close) => {
                    self.closed = Some(close);
                    return Poll::Ready(None);
                }
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
        match &self.socket {
            ClientSocket::Cloudflare(socket) => socket.close(code, reason),
            #[cfg(not(target_arch = "wasm32"))]
            ClientSocket::Memory(socket) => {
                socket.close(code, reason);
                Ok(())
            }
        }
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
pub(crate) fn decode<B: serde::de::DeserializeOwned>(text: &str) -> Result<Received<B>, Error> {
    match wire::Notice::parse(text) {
        Some(wire::Notice::Error { code, message, violations, .. }) => {
            Err(Error::new(code, message).with_violations(violations.into_owned()))
        }
        Some(wire::Notice::Resume(token)) => Ok(Received::ResumeToken(token.into_owned())),
        None => wire::decode_value(text.as_bytes(), "the room's message").map(Received::Message),
    }
}
