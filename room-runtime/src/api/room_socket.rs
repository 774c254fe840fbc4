//! [`RoomSocket`]: the connection of a peer that is a program.

use std::{fmt, marker::PhantomData};

use crate::{
    Close, CloseCode, Error, ErrorKind, Room,
    platform::socket::{Arrival, ClientSocket},
    wire,
};

/// A connection to a room, with the room's types, from [`RoomHandle::connect`](crate::RoomHandle::connect).
///
/// If the value is dropped, the platform decides when the connection ends; [`close`](RoomSocket::close) closes it at
/// once.
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
    ///   [`ErrorKind::TooLarge`], [`ErrorKind::RateLimited`], [`ErrorKind::Overloaded`], [`ErrorKind::Refused`],
    ///   [`ErrorKind::Services`] or [`ErrorKind::Restarted`].
    /// - [`ErrorKind::Decode`] for a message that is not a `Broadcast`.
    ///
    /// The connection stays open.
    pub async fn receive(&mut self) -> Result<Option<R::Broadcast>, Error> {
        if self.closed.is_some() {
            return Ok(None);
        }
        loop {
            let arrival = match &mut self.socket {
                ClientSocket::Cloudflare(socket) => socket.receive().await,
                #[cfg(not(target_arch = "wasm32"))]
                ClientSocket::Memory(socket) => std::future::poll_fn(|cx| socket.poll_receive(cx)).await,
            };
            match arrival {
                Arrival::Text(text) => match decode(&text)? {
                    Received::Message(message) => return Ok(Some(message)),
                    Received::ResumeToken(token) => self.resume_token = Some(token),
                },
                Arrival::Binary(bytes) => {
                    let message = format!("a binary frame of {bytes} bytes, where JSON text is spoken");
                    return Err(Error::new(ErrorKind::Decode, message));
                }
                Arrival::Closed(close) => {
                    self.closed = Some(close);
                    return Ok(None);
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
        Some(wire::Notice::Error { code, message, .. }) => Err(Error::new(code, message)),
        Some(wire::Notice::Resume(token)) => Ok(Received::ResumeToken(token.into_owned())),
        None => wire::decode_value(text.as_bytes(), "the room's message").map(Received::Message),
    }
}
