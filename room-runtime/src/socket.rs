//! [`RoomSocket`]: a peer that is a program.

use std::{fmt, marker::PhantomData};

use serde::Deserialize;

use crate::{Close, CloseCode, Error, ErrorKind, Room, platform::cloudflare::namespace::WorkerSocket, wire};

/// A connection to a room, typed by the room, from [`RoomHandle::connect`](crate::RoomHandle::connect).
///
/// Dropping it leaves the connection to the platform; [`close`](RoomSocket::close) ends it for the room at once.
pub struct RoomSocket<R> {
    socket: AnySocket,
    closed: Option<Close>,
    room: PhantomData<fn() -> R>,
}

/// The socket below, for each platform.
pub(crate) enum AnySocket {
    Cloudflare(WorkerSocket),
    #[cfg(not(target_arch = "wasm32"))]
    Memory(crate::testing::ClientSocket),
}

/// What arrives at a client.
#[derive(Debug)]
pub(crate) enum Arrival {
    Text(String),
    Binary(usize),
    Closed(Close),
}

impl<R: Room> RoomSocket<R> {
    pub(crate) fn new(socket: AnySocket) -> Self {
        RoomSocket { socket, closed: None, room: PhantomData }
    }

    /// Sends the room an event.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] when it cannot be JSON, [`ErrorKind::PeerGone`] when the connection is closed,
    /// [`ErrorKind::Send`] when the socket refuses it.
    pub fn send(&self, event: &R::Event) -> Result<(), Error> {
        if self.closed.is_some() {
            return Err(Error::new(ErrorKind::PeerGone, "the connection is closed"));
        }
        let text = wire::encode_event(event)?;
        match &self.socket {
            AnySocket::Cloudflare(socket) => socket.send(&text),
            #[cfg(not(target_arch = "wasm32"))]
            AnySocket::Memory(socket) => socket.send(text),
        }
    }

    /// The next message; `None` when the connection has been closed, by whichever side.
    ///
    /// # Errors
    /// What the room said of an event that it could not handle: [`ErrorKind::Decode`], [`ErrorKind::TooLarge`],
    /// [`ErrorKind::RateLimited`], [`ErrorKind::Overloaded`], [`ErrorKind::Services`], [`ErrorKind::Restarted`];
    /// [`ErrorKind::Decode`] also for a message that is not a `Broadcast`. The connection stays open.
    pub async fn receive(&mut self) -> Result<Option<R::Broadcast>, Error> {
        if self.closed.is_some() {
            return Ok(None);
        }
        let arrival = match &mut self.socket {
            AnySocket::Cloudflare(socket) => socket.receive().await,
            #[cfg(not(target_arch = "wasm32"))]
            AnySocket::Memory(socket) => socket.receive().await,
        };
        match arrival {
            Arrival::Text(text) => decode(&text).map(Some),
            Arrival::Binary(bytes) => Err(Error::new(
                ErrorKind::Decode,
                format!("a binary frame of {bytes} bytes, where JSON text is spoken"),
            )),
            Arrival::Closed(close) => {
                self.closed = Some(close);
                Ok(None)
            }
        }
    }

    /// How the connection ended, once [`receive`](RoomSocket::receive) has said so.
    pub fn closed(&self) -> Option<&Close> {
        self.closed.as_ref()
    }

    /// Closes the connection; messages on their way can still be received.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`] when the reason is too long.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        crate::peer::check_reason(reason)?;
        match &self.socket {
            AnySocket::Cloudflare(socket) => socket.close(code, reason),
            #[cfg(not(target_arch = "wasm32"))]
            AnySocket::Memory(socket) => {
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

/// A message of the room, or what the runtime itself has to say.
pub(crate) fn decode<B: serde::de::DeserializeOwned>(text: &str) -> Result<B, Error> {
    #[derive(Deserialize)]
    struct Report {
        #[serde(rename = "$room")]
        room: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        error: FrameError,
    }
    #[derive(Deserialize)]
    struct FrameError {
        code: ErrorKind,
        message: String,
    }
    if text.starts_with(r#"{"$room""#)
        && let Ok(Report { room: Body { error: FrameError { code, message } } }) = serde_json::from_str(text)
    {
        return Err(Error::new(code, message));
    }
    wire::decode_value(text.as_bytes(), "the room's message")
}
