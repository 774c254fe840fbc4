//! A WebSocket client for native programs.
//!
//! [`Client::connect`] performs the handshake itself, so that an answer other than 101 is available as a whole, with
//! its body. After that, two tasks carry frames, one in each direction. They answer pings and closes even if no caller
//! receives, and a peer that does not read delays only itself.

use std::{fmt, sync::OnceLock};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http_body_util::Empty;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Bytes,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE},
    http::response,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{Mutex, mpsc},
    task::AbortHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{
            CloseFrame, Role,
            frame::{
                Frame as RawFrame, FrameHeader,
                coding::{CloseCode, Control, OpCode},
            },
        },
    },
};

use crate::http::{self, HttpError};

/// The number of frames that are buffered in each direction before the sender has to wait.
const BUFFERED: usize = 1_024;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server answered with an ordinary HTTP response.
    #[error("the upgrade was refused: {} {}", .0.status(), String::from_utf8_lossy(.0.body()))]
    Refused(Box<Response<Bytes>>),
    /// The server answered 101, but its handshake is invalid.
    #[error("the server's handshake is wrong: {0}")]
    Handshake(&'static str),
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// The connection is closed, so nothing can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct SendError;

/// A frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The server's close code: 1005 if it sent none, 1006 if the connection was lost without a close frame.
    pub code: u16,
    /// The server's reason, often empty.
    pub reason: String,
}

impl Closed {
    fn lost() -> Self {
        Closed { code: 1006, reason: String::new() }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason {
            "" => write!(f, "{}", self.code),
            reason => write!(f, "{} {reason:?}", self.code),
        }
    }
}

/// A WebSocket. Dropping it drops the connection, without a close frame.
pub struct Client {
    response: response::Parts,
    outgoing: mpsc::Sender<Message>,
    arrivals: Mutex<mpsc::Receiver<Result<Frame, Closed>>>,
    closed: OnceLock<Closed>,
    tasks: [AbortHandle; 2],
}

impl Client {
    /// Connects to the request's URI, `ws://host:port/path`, with the request's headers.
    ///
    /// # Errors
    /// Fails if the server is not reachable, or refuses the upgrade.
    pub async fn connect(request: Request<()>) -> Result<Client, ConnectError> {
        let key = generate_key();
        let mut request = request.map(|()| Empty::<Bytes>::new());
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        // Base64 of sixteen bytes is always a valid header value.
        headers.extend(HeaderValue::from_str(&key).ok().map(|key| (SEC_WEBSOCKET_KEY, key)));

        let mut response = http::send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ConnectError::Refused(Box::new(http::collect(response).await?)));
        }
        check(response.headers(), &key)?;
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(HttpError::from)?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        let (response, _) = response.into_parts();

        let (sink, stream) = socket.split();
        let (outgoing, to_send) = mpsc::channel(BUFFERED);
        let (arrived, arrivals) = mpsc::channel(BUFFERED);
        let tasks =
            [tokio::spawn(write(sink, to_send)).abort_handle(), tokio::spawn(read(stream, arrived)).abort_handle()];
        Ok(Client { response, outgoing, arrivals: Mutex::new(arrivals), closed: OnceLock::new(), tasks })
    }

    /// The head of the server's response, which includes the chosen subprotocol.
    pub fn response(&self) -> &response::Parts {
        &self.response
    }

    /// Sends text. Waits while the buffer is full.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn send_text(&self, text: impl Into<String>) -> Result<(), SendError> {
        self.send(Message::Text(text.into().into())).await
    }

    /// Sends bytes. Waits while the buffer is full.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn send_binary(&self, bytes: impl Into<Bytes>) -> Result<(), SendError> {
        self.send(Message::Binary(bytes.into())).await
    }

    /// Starts a close. Frames that the server sent before its answer still arrive.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), SendError> {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// Starts a close without a code: the server sees 1005.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn close_without_code(&self) -> Result<(), SendError> {
        self.send(Message::Close(None)).await
    }

    /// Sends a close frame with any payload, even an invalid one.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn close_raw(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let header = FrameHeader { opcode: OpCode::Control(Control::Close), ..FrameHeader::default() };
        self.send(Message::Frame(RawFrame::from_payload(header, payload.into()))).await
    }

    async fn send(&self, message: Message) -> Result<(), SendError> {
        self.outgoing.send(message).await.map_err(|_| SendError)
    }

    /// Returns the next frame, or the end of the connection.
    ///
    /// The method is cancel-safe: dropping the future loses no frame. If several callers wait, each gets a different
    /// frame.
    ///
    /// # Errors
    /// Fails if the connection is closed, by either side; each later call returns the same.
    pub async fn receive(&self) -> Result<Frame, Closed> {
        let mut arrivals = self.arrivals.lock().await;
        if let Some(closed) = self.closed.get() {
            return Err(closed.clone());
        }
        let arrival = arrivals.recv().await.unwrap_or_else(|| Err(Closed::lost()));
        arrival.map_err(|closed| self.closed.get_or_init(|| closed).clone())
    }

    /// Stops reading: no more frames arrive, and a close of the server is not answered. The connection stays open until
    /// it is [dropped](Client::disconnect).
    pub fn mute(&self) {
        self.tasks[1].abort();
    }

    /// Drops the connection without a close frame, as a client without network does.
    pub fn disconnect(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.disconnect();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Checks that the response is a WebSocket handshake for this key.
fn check(headers: &HeaderMap, key: &str) -> Result<(), ConnectError> {
    let is = |name, value: &str| headers.get(name).is_some_and(|h| h.as_bytes().eq_ignore_ascii_case(value.as_bytes()));
    if !is(UPGRADE, "websocket") {
        return Err(ConnectError::Handshake("it upgrades to something else"));
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| accept != derive_accept_key(key.as_bytes()).as_str()) {
        return Err(ConnectError::Handshake("its `Sec-WebSocket-Accept` belongs to another key"));
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ConnectError::Handshake("it uses an extension that was not offered"));
    }
    Ok(())
}

async fn write(mut sink: SplitSink<Socket, Message>, mut to_send: mpsc::Receiver<Message>) {
    while let Some(message) = to_send.recv().await {
        // The reading task finds the reason of the failure.
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

async fn read(mut stream: SplitStream<Socket>, arrived: mpsc::Sender<Result<Frame, Closed>>) {
    let closed = loop {
        let frame = match stream.next().await {
            Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes),
            Some(Ok(Message::Close(Some(frame)))) => {
                break Closed { code: frame.code.into(), reason: frame.reason.as_str().to_owned() };
            }
            Some(Ok(Message::Close(None))) => break Closed { code: 1005, reason: String::new() },
            // Reading on answers pings.
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => break Closed::lost(),
        };
        if arrived.send(Ok(frame)).await.is_err() {
            return;
        }
    };
    // The receiver is gone if the client was dropped.
    let _ = arrived.send(Err(closed)).await;
    // Reading on sends the answer to a close; the loop ends when the server ends the connection.
    while let Some(Ok(_)) = stream.next().await {}
}

#[cfg(test)]
mod tests {
    use std::{future::Future, net::SocketAddr};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_tungstenite::accept_async;

    use super::*;

    /// Connects a client to a server that runs this on its one connection.
    async fn against<S, F>(server: S) -> Result<Client, ConnectError>
    where
        S: FnOnce(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            server(stream).await;
        });
        connect(address).await
    }

    async fn connect(address: SocketAddr) -> Result<Client, ConnectError> {
        Client::connect(Request::get(format!("ws://{address}/room?x=1")).body(()).expect("a request")).await
    }

    /// Sends this answer to the handshake, and ends the connection.
    async fn answers(mut stream: TcpStream, answer: &str) {
        let mut read = [0; 4_096];
        let _ = stream.read(&mut read).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn closed(code: u16, reason: &str) -> Result<Frame, Closed> {
        Err(Closed { code, reason: reason.to_owned() })
    }

    #[tokio::test]
    async fn frames_go_both_ways_and_the_close_is_the_servers() {
        let client = against(async |stream| {
            let mut socket = accept_async(stream).await.expect("a handshake");
            // The library answers a close while the server reads on.
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_close() {
                    socket.send(message).await.expect("an echo");
                }
            }
        })
        .await
        .expect("a connection");
        client.send_text("ä").await.expect("sent");
        client.send_binary(vec![0, 255]).await.expect("sent");
        assert_eq!(client.receive().await, Ok(Frame::Text("ä".to_owned())));
        assert_eq!(client.receive().await, Ok(Frame::Binary(vec![0, 255].into())));
        client.close(4_000, "bye").await.expect("sent");
        assert_eq!(client.receive().await, closed(4_000, "bye"));
        // A second call returns the same.
        assert_eq!(client.receive().await, closed(4_000, "bye"));
    }

    #[tokio::test]
    async fn a_close_without_a_code_is_1005_and_a_lost_connection_1006() {
        let client = against(async |stream| {
            let mut socket = accept_async(stream).await.expect("a handshake");
            socket.close(None).await.expect("sent");
        })
        .await
        .expect("a connection");
        assert_eq!(client.receive().await, closed(1005, ""));

        let client = against(async |stream| drop(accept_async(stream).await)).await.expect("a connection");
        assert_eq!(client.receive().await, closed(1006, ""));
    }

    #[tokio::test]
    async fn a_refusal_arrives_whole() {
        let body = "x".repeat(100_000);
        let answer = format!("HTTP/1.1 401 Unauthorized\r\nx-why: so\r\ncontent-length: 100000\r\n\r\n{body}");
        let refused = against(async move |stream| answers(stream, &answer).await).await;
        let Err(ConnectError::Refused(response)) = refused else { panic!("{refused:?}") };
        assert_eq!((response.status().as_u16(), &response.headers()["x-why"]), (401, &HeaderValue::from_static("so")));
        assert_eq!(response.body(), &body);
    }

    #[tokio::test]
    async fn an_upgrade_that_is_not_ours_is_a_typed_error() {
        for headers in ["upgrade: h2c", "upgrade: websocket", "upgrade: websocket\r\nsec-websocket-accept: x"] {
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{headers}\r\n\r\n");
            let outcome = against(async move |stream| answers(stream, &answer).await).await;
            assert!(matches!(outcome, Err(ConnectError::Handshake(_))), "{headers}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_is_a_typed_error() {
        let free = TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr());
        let outcome = connect(free.expect("a free port")).await;
        assert!(matches!(outcome, Err(ConnectError::Http(HttpError::Unreachable { .. }))), "{outcome:?}");
        let outcome = Client::connect(Request::get("wss://localhost/").body(()).expect("a request")).await;
        assert!(matches!(outcome, Err(ConnectError::Http(HttpError::Address(_)))), "{outcome:?}");
    }
}
