//! [`WorkerTransport`]: the sockets and timers of a Worker.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_channel::{mpsc, oneshot};
use futures_core::Stream;
use futures_sink::Sink;
use worker::{
    Date, Delay, Fetch, Method, Request, WebSocket, WebsocketEvent, js_sys::Math, wasm_bindgen_futures::spawn_local,
    web_sys::BinaryType,
};

use super::{ConnectError, Frame, Socket, Transport, UpgradeRequest};
use crate::error::BoxError;

/// The sockets and timers of a Worker, for [`Builder::connect_with`](crate::Builder::connect_with).
///
/// The driver runs as long as the Worker's request or Durable Object does: in a Worker, give it to `ctx.wait_until`. The
/// platform cannot end a connection without a close frame: one that is left as dead stays until the room closes it.
///
/// ```
/// use room_client::{Builder, WorkerTransport};
/// use worker::Context;
/// # #[derive(serde::Serialize)] struct Event;
/// # #[derive(serde::Deserialize)] struct Broadcast;
///
/// /// Connects to the room of another Worker, for as long as this Worker's request runs.
/// fn connect(ctx: &Context) {
///     let builder = Builder::new("https://example.com/ws/chat/main");
///     let (room, messages, driver) = builder.connect_with::<Event, Broadcast, _>(WorkerTransport::new());
///     ctx.wait_until(driver);
///     // …
/// }
/// ```
#[derive(Debug, Default)]
pub struct WorkerTransport {
    /// The clock of a Worker is that of the day, which can go back.
    latest: Cell<u64>,
}

impl WorkerTransport {
    /// Creates the transport.
    pub fn new() -> Self {
        WorkerTransport::default()
    }
}

impl Transport for WorkerTransport {
    type Socket = WorkerSocket;
    type Connect = Pin<Box<dyn Future<Output = Result<WorkerSocket, ConnectError>>>>;
    type Sleep = Delay;

    fn connect(&self, request: UpgradeRequest) -> Self::Connect {
        Box::pin(connect(request))
    }

    fn now(&self) -> Duration {
        let now = Date::now().as_millis().max(self.latest.get());
        self.latest.set(now);
        Duration::from_millis(now)
    }

    fn sleep(&self, time: Duration) -> Delay {
        // The platform's timers count whole milliseconds, up to this many, and one that is early is set again.
        let ms = time.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
        Delay::from(Duration::from_millis(ms as u64))
    }

    fn seed(&self) -> u64 {
        (Math::random() * (1_u64 << 53) as f64) as u64
    }
}

async fn connect(request: UpgradeRequest) -> Result<WorkerSocket, ConnectError> {
    let UpgradeRequest { url, protocols, headers } = request;
    // The platform's `fetch` upgrades requests to `https:` and `http:` only.
    let url = format!("http{}", url.trim_start_matches("ws"));
    let mut request = Request::new(&url, Method::Get).map_err(ConnectError::endpoint)?;
    let set = request.headers_mut().map_err(ConnectError::endpoint)?;
    for (name, value) in headers {
        set.append(&name, &value).map_err(ConnectError::endpoint)?;
    }
    set.set("upgrade", "websocket").map_err(ConnectError::endpoint)?;
    set.set("sec-websocket-protocol", &protocols.join(", ")).map_err(ConnectError::endpoint)?;

    let mut response = Fetch::Request(request).send().await.map_err(ConnectError::network)?;
    let protocol = response.headers().get("sec-websocket-protocol").ok().flatten();
    let status = response.status_code();
    if status != 101 {
        let retry_after = response.headers().get("retry-after").ok().flatten();
        let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        return Err(ConnectError::refused(status, &response.text().await.unwrap_or_default(), retry_after));
    }
    let Some(socket) = response.websocket() else {
        return Err(ConnectError::protocol("the response has the status 101 and no WebSocket"));
    };
    socket.as_ref().set_binary_type(BinaryType::Arraybuffer);

    let (frames, receiver) = mpsc::unbounded();
    let (guard, dropped) = oneshot::channel();
    let (listening, is_listening) = oneshot::channel();
    spawn_local(listen(socket.clone(), frames, dropped, listening));
    match is_listening.await {
        Ok(Ok(())) => Ok(WorkerSocket { socket, protocol, receiver, _guard: guard }),
        Ok(Err(error)) => Err(ConnectError::network(error)),
        Err(_) => Err(ConnectError::network("the listener of the socket has ended")),
    }
}

/// Passes the events of a socket on until it ends, or `dropped` says that nobody needs them.
///
/// It is a task of its own, because the stream of events borrows the socket.
async fn listen(
    socket: WebSocket,
    frames: mpsc::UnboundedSender<Result<Frame, BoxError>>,
    mut dropped: oneshot::Receiver<()>,
    listening: oneshot::Sender<Result<(), worker::Error>>,
) {
    // No message is lost if the listeners are there before the socket is accepted.
    let mut events = match socket.events() {
        Ok(events) => events,
        Err(error) => return drop(listening.send(Err(error))),
    };
    let _ = listening.send(socket.accept());
    loop {
        let next = std::future::poll_fn(|cx| match Pin::new(&mut dropped).poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => Pin::new(&mut events).poll_next(cx),
        });
        let frame = match next.await {
            Some(Ok(WebsocketEvent::Message(message))) => match (message.text(), message.bytes()) {
                (Some(text), _) => Ok(Frame::Text(text)),
                (None, bytes) => Ok(Frame::Binary(bytes.unwrap_or_default())),
            },
            // The platform's code for a connection without a close frame, which ends the stream.
            Some(Ok(WebsocketEvent::Close(close))) if close.code() == 1006 => return,
            Some(Ok(WebsocketEvent::Close(close))) => Ok(Frame::Close { code: close.code(), reason: close.reason() }),
            Some(Err(error)) => Err(BoxError::from(error)),
            None => return,
        };
        if frames.unbounded_send(frame).is_err() {
            return;
        }
    }
}

/// A socket of [`WorkerTransport`].
///
/// Programs name it only in a transport of their own that wraps it:
///
/// ```
/// use room_client::{Socket as _, WorkerSocket};
///
/// /// The codec of a connection, for a log.
/// fn codec(socket: &WorkerSocket) -> &'static str {
///     if socket.protocol() == Some("room.v1.msgpack") { "MessagePack" } else { "JSON" }
/// }
/// ```
pub struct WorkerSocket {
    socket: WebSocket,
    protocol: Option<String>,
    receiver: mpsc::UnboundedReceiver<Result<Frame, BoxError>>,
    /// Ends the listener when it is dropped.
    _guard: oneshot::Sender<()>,
}

impl Socket for WorkerSocket {
    fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

impl Stream for WorkerSocket {
    type Item = Result<Frame, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl Sink<Frame> for WorkerSocket {
    type Error = BoxError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        let sent = match frame {
            Frame::Text(text) => self.socket.send_with_str(text),
            Frame::Binary(bytes) => self.socket.send_with_bytes(bytes),
            Frame::Close { code, reason } => self.socket.close(Some(code), Some(reason)),
        };
        sent.map_err(Into::into)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(self.socket.close(Some(1000), Some("")).map_err(Into::into))
    }
}

impl fmt::Debug for WorkerSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSocket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
