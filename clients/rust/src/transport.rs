//! [`Transport`]: the WebSocket and the timers of a platform.

use std::{fmt, future::Future, time::Duration};

use futures_core::Stream;
use futures_sink::Sink;

use crate::{Error, ErrorKind, error::BoxError};

#[cfg(feature = "native")]
pub(crate) mod native;
#[cfg(feature = "room")]
pub(crate) mod room;
#[cfg(all(feature = "worker", target_arch = "wasm32"))]
pub(crate) mod worker;

/// A frame of a WebSocket.
///
/// ```
/// use room_client::Frame;
///
/// /// The bytes of a frame's content, for a proxy that measures.
/// fn bytes(frame: &Frame) -> usize {
///     match frame {
///         Frame::Text(text) => text.len(),
///         Frame::Binary(bytes) => bytes.len(),
///         Frame::Close { reason, .. } => 2 + reason.len(),
///     }
/// }
///
/// assert_eq!(bytes(&Frame::Close { code: 1000, reason: "bye".to_owned() }), 5);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A close frame. One without a code has the code 1005.
    Close {
        /// The close code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: String,
    },
}

/// The upgrade that a [`Transport`] has to send.
///
/// A [`Transport`] writes the HTTP request from it:
///
/// ```
/// use room_client::UpgradeRequest;
///
/// /// The arguments of a command-line client of WebSockets.
/// fn arguments(request: &UpgradeRequest) -> Vec<String> {
///     let mut arguments = vec![request.url.clone(), format!("--subprotocols={}", request.protocols.join(", "))];
///     arguments.extend(request.headers.iter().map(|(name, value)| format!("--header={name}: {value}")));
///     arguments
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct UpgradeRequest {
    /// The address, beginning with `ws:` or `wss:`.
    pub url: String,
    /// The subprotocols to offer, in this order. The name of a session among them is a secret.
    pub protocols: Vec<String>,
    /// Further headers, for example with a token.
    pub headers: Vec<(String, String)>,
}

/// The subprotocols and headers can have secrets, so only their number is shown.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UpgradeRequest { url, protocols, headers } = self;
        let mut debug = f.debug_struct("UpgradeRequest");
        debug.field("url", url).field("protocols", &protocols.len()).field("headers", &headers.len()).finish()
    }
}

/// The reason why a socket was not opened.
///
/// ```
/// use room_client::ConnectError;
/// use std::io;
///
/// /// The error of a [`Transport`](room_client::Transport) whose upgrade got no socket.
/// fn failed(response: Result<u16, io::Error>) -> ConnectError {
///     match response {
///         Ok(101) => ConnectError::protocol("the server chose another subprotocol"),
///         // The client tries again after a 503, and not after a 401.
///         Ok(status) => ConnectError::refused(status, "", None),
///         Err(error) => ConnectError::network(error),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ConnectError {
    pub(crate) error: Error,
    pub(crate) is_final: bool,
}

impl ConnectError {
    /// A failure of the network. The client tries again.
    pub fn network(source: impl Into<BoxError>) -> Self {
        let error = Error::new(ErrorKind::Connection, "the connection was not opened").with_source(source);
        ConnectError { error, is_final: false }
    }

    /// A response other than 101. The client is closed for good if the status is from 400 to 499, except for 408, 425 and 429.
    ///
    /// `body` is a part of the response for the error's text. After `retry_after` the server accepts the upgrade.
    pub fn refused(status: u16, body: &str, retry_after: Option<Duration>) -> Self {
        let brief: String = body.chars().take(200).collect();
        let message = match brief.trim() {
            "" => format!("the upgrade was refused with the status {status}"),
            brief => format!("the upgrade was refused with the status {status}: {brief}"),
        };
        let error = Error::new(ErrorKind::UpgradeRefused, message).with_status(status).with_retry_after(retry_after);
        ConnectError { error, is_final: (400..500).contains(&status) && ![408, 425, 429].contains(&status) }
    }

    /// A mistake of the program or of the server that no later attempt repairs. The client is closed for good.
    pub fn protocol(source: impl Into<BoxError>) -> Self {
        let source = source.into();
        ConnectError { error: Error::new(ErrorKind::Protocol, source.to_string()).with_source(source), is_final: true }
    }

    /// An address or a header that is not valid. The client is closed for good.
    pub fn endpoint(source: impl Into<BoxError>) -> Self {
        let source = source.into();
        let error = Error::new(ErrorKind::Endpoint, format!("the endpoint is not valid: {source}"));
        ConnectError { error: error.with_source(source), is_final: true }
    }
}

/// The WebSocket, the clock and the randomness of a platform.
///
/// The client natively uses the one of the feature `native`. Another one is for other platforms, runtimes and proxies; see
/// [`Builder::connect_with`](crate::Builder::connect_with).
///
/// The associated types decide where the [`Driver`](crate::Driver) can run: it is `Send` if all of them are.
///
/// A transport can wrap another one, here to count the attempts:
///
/// ```
/// use room_client::{Builder, NativeTransport, Transport, UpgradeRequest};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// struct Counting {
///     attempts: Rc<Cell<u32>>,
///     inner: NativeTransport,
/// }
///
/// impl Transport for Counting {
///     type Socket = <NativeTransport as Transport>::Socket;
///     type Connect = <NativeTransport as Transport>::Connect;
///     type Sleep = <NativeTransport as Transport>::Sleep;
///
///     fn connect(&self, request: UpgradeRequest) -> Self::Connect {
///         self.attempts.set(self.attempts.get() + 1);
///         self.inner.connect(request)
///     }
///
///     fn now(&self) -> Duration {
///         self.inner.now()
///     }
///
///     fn sleep(&self, time: Duration) -> Self::Sleep {
///         self.inner.sleep(time)
///     }
///
///     fn seed(&self) -> u64 {
///         self.inner.seed()
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// #     let attempts = Rc::new(Cell::new(0));
/// #     let transport = Counting { attempts: attempts.clone(), inner: NativeTransport::new() };
/// #     let reconnect = room_client::Reconnect::default().max_attempts(1);
/// #     // Nothing listens on this port.
/// #     let builder = Builder::new("ws://127.0.0.1:1/").reconnect(reconnect);
/// #     let (_client, _messages, driver) = builder.connect_with::<(), (), _>(transport);
/// #     driver.await;
/// #     assert_eq!(attempts.get(), 1);
/// # }
/// ```
pub trait Transport {
    /// An open socket.
    type Socket: Socket;
    /// The opening of a socket. Dropping it gives the attempt up.
    type Connect: Future<Output = Result<Self::Socket, ConnectError>>;
    /// A timer.
    type Sleep: Future<Output = ()>;

    /// Opens a socket. The client has its own time limit for this.
    fn connect(&self, request: UpgradeRequest) -> Self::Connect;

    /// Returns the time since any fixed moment. It never goes back.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration) -> Self::Sleep;

    /// Returns a random number. It seeds the jitter of reconnecting, so that clients do not all come back at the same time.
    fn seed(&self) -> u64;
}

/// An open WebSocket: a stream of frames from the room and a sink for those to the room.
///
/// - A close frame from the room is an item. After it the stream answers the close and ends. A stream that ends
///   without a close frame is a connection that was lost.
/// - A close frame in the sink begins the close handshake; the stream ends when it is complete.
/// - Dropping the socket ends the connection without a close frame, where the platform can do that. The room takes that
///   for a lost connection, and keeps the client's place.
///
/// A socket over two channels, for a test of a program:
///
/// ```
/// use futures_util::{Sink, SinkExt, Stream, StreamExt};
/// use room_client::{BoxError, Frame, Socket};
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
///
/// struct Channels<I, O> {
///     frames: I,
///     sent: O,
/// }
///
/// impl<I, O> Socket for Channels<I, O>
/// where
///     I: Stream<Item = Result<Frame, BoxError>> + Unpin,
///     O: Sink<Frame, Error = BoxError> + Unpin,
/// {
///     fn protocol(&self) -> Option<&str> {
///         Some("room.v1")
///     }
/// }
/// # impl<I: Stream<Item = Result<Frame, BoxError>> + Unpin, O: Unpin> Stream for Channels<I, O> {
/// #     type Item = I::Item;
/// #     fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<I::Item>> {
/// #         self.frames.poll_next_unpin(cx)
/// #     }
/// # }
/// # impl<I: Unpin, O: Sink<Frame, Error = BoxError> + Unpin> Sink<Frame> for Channels<I, O> {
/// #     type Error = BoxError;
/// #     fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
/// #         self.sent.poll_ready_unpin(cx)
/// #     }
/// #     fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
/// #         self.sent.start_send_unpin(frame)
/// #     }
/// #     fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
/// #         self.sent.poll_flush_unpin(cx)
/// #     }
/// #     fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
/// #         self.sent.poll_close_unpin(cx)
/// #     }
/// # }
/// // The implementations of `Stream` and `Sink` pass `frames` and `sent` on.
/// ```
pub trait Socket: Stream<Item = Result<Frame, BoxError>> + Sink<Frame, Error = BoxError> + Unpin {
    /// The subprotocol that the server chose.
    fn protocol(&self) -> Option<&str>;
}
