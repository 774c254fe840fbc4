//! [`RawSocket`]: a connection whose frames are left as they are.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;

use crate::{
    Close, CloseCode, Error,
    platform::socket::{Arrival, ClientSocket},
    types::close::check_reason,
};

/// A connection to a room with its frames as they are, from [`RoomHandle::connect_raw`](crate::RoomHandle::connect_raw).
///
/// It is for clients of a protocol, for example those of [`SUBPROTOCOL`](crate::SUBPROTOCOL), and for proxies. For the room's
/// types without a protocol there is [`RoomHandle::connect`](crate::RoomHandle::connect).
///
/// It is a [`Stream`] of the room's frames. The last item is the close of the connection.
///
/// If the value is dropped, the connection ends natively as a lost one. In a Worker the platform decides when it ends.
///
/// ```
/// use futures_util::StreamExt;
/// use room_runtime::{RawFrame, SUBPROTOCOL, prelude::*, testing::TestRoom};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// # room.world().block_on(async {
/// let mut socket = room.handle().connect_raw(Upgrade::new(chat::Connection {}), &[SUBPROTOCOL]).await?;
/// assert_eq!(socket.protocol(), Some("room.v1"));
/// // The first frame of `room.v1` is the room's welcome.
/// assert!(matches!(socket.next().await, Some(RawFrame::Text(text)) if text.contains("welcome")));
/// socket.close(CloseCode::NORMAL, "done")?;
/// # Ok::<(), room_runtime::Error>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
pub struct RawSocket {
    socket: ClientSocket,
    is_closed: bool,
}

/// A frame of a room, from a [`RawSocket`].
///
/// ```
/// use futures_util::StreamExt;
/// use room_runtime::{RawFrame, RawSocket};
///
/// /// Counts the bytes of a room's frames, and returns the code of the close.
/// async fn measure(mut socket: RawSocket) -> (usize, Option<u16>) {
///     let mut bytes = 0;
///     while let Some(frame) = socket.next().await {
///         match frame {
///             RawFrame::Text(text) => bytes += text.len(),
///             RawFrame::Binary(data) => bytes += data.len(),
///             RawFrame::Close(close) => return (bytes, Some(close.code)),
///             _ => {}
///         }
///     }
///     (bytes, None)
/// }
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Hi { text: String } }
/// #     pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
/// #         peer.send(&Broadcast::Hi { text: "ada".into() })?;
/// #         Ok(peer.close(CloseCode::NORMAL, "")?)
/// #     }
/// # }
/// # fn main() -> Result<(), room_runtime::Error> {
/// #     let room = TestRoom::<chat::Room>::new("main");
/// #     let measured = room.world().block_on(async {
/// #         let socket = room.handle().connect_raw(Upgrade::new(chat::Connection {}), &[]).await?;
/// #         Ok::<_, room_runtime::Error>(measure(socket).await)
/// #     })?;
/// #     assert_eq!(measured, (r#"{"type":"Hi","text":"ada"}"#.len(), Some(1000)));
/// #     Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawFrame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
    /// The close of the connection, which is the last item. A connection without a close frame has the code 1006.
    Close(Close),
}

impl RawSocket {
    pub(crate) fn new(socket: ClientSocket) -> Self {
        RawSocket { socket, is_closed: false }
    }

    /// The subprotocol that the room chose.
    pub fn protocol(&self) -> Option<&str> {
        self.socket.protocol.as_deref()
    }

    /// Sends a text frame to the room.
    ///
    /// # Errors
    /// [`ErrorKind::Send`](crate::ErrorKind::Send) if the socket does not accept it, for example because it is closed.
    pub fn send(&self, text: impl Into<String>) -> Result<(), Error> {
        self.socket.send(text.into().into())
    }

    /// Sends a binary frame to the room.
    ///
    /// # Errors
    /// [`ErrorKind::Send`](crate::ErrorKind::Send) if the socket does not accept it, for example because it is closed.
    pub fn send_bytes(&self, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.socket.send(bytes.into().into())
    }

    /// Closes the connection. Frames that are on their way still arrive, and then the close.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`](crate::ErrorKind::InvalidClose) if the reason is too long.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        check_reason(reason)?;
        self.socket.close(code, reason)
    }
}

impl Stream for RawSocket {
    type Item = RawFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RawFrame>> {
        if self.is_closed {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.socket.poll_receive(cx)) {
            Arrival::Text(text) => RawFrame::Text(text),
            Arrival::Binary(bytes) => RawFrame::Binary(bytes.into()),
            Arrival::Closed(close) => {
                self.is_closed = true;
                RawFrame::Close(close)
            }
        }))
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        if !self.is_closed {
            self.socket.abandon();
        }
    }
}

impl fmt::Debug for RawSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawSocket { socket, is_closed } = self;
        f.debug_struct("RawSocket").field("protocol", &socket.protocol).field("is_closed", is_closed).finish()
    }
}
