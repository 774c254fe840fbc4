//! A server whose room follows the script of a test, over real sockets.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderMap, HeaderValue, StatusCode},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) url: String,
}

/// A connection, as the room sees it.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// The subprotocols that the client offered.
    pub(crate) offers: Vec<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback interface");
        let url = format!("ws://{}/room", listener.local_addr().expect("an address"));
        Server { listener, url }
    }

    /// Accepts the next connection with this subprotocol.
    pub(crate) async fn accept(&self, protocol: Option<&str>) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut seen = None;
        // The types of the library.
        #[expect(clippy::result_large_err)]
        let answer = |request: &Request, mut response: Response| {
            seen = Some((request.headers().clone(), request.uri().to_string()));
            if let Some(protocol) = protocol {
                let protocol = HeaderValue::from_str(protocol).expect("a header");
                response.headers_mut().insert("sec-websocket-protocol", protocol);
            }
            Ok(response)
        };
        let config = WebSocketConfig::default().max_frame_size(Some(64 << 20));
        let accepting = accept_hdr_async_with_config(stream, answer, Some(config));
        let socket = accepting.await.expect("an upgrade");
        let (headers, path) = seen.expect("a request");
        let offers = headers["sec-websocket-protocol"].to_str().expect("text").split(", ").map(str::to_owned).collect();
        Peer { socket, offers, headers, path }
    }

    /// Refuses the next connection.
    pub(crate) async fn refuse(&self, status: u16, body: &str) {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        #[expect(clippy::result_large_err)]
        let answer = |_: &Request, _: Response| {
            let mut response = http::Response::new(Some(body.to_owned()));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            let length = HeaderValue::from(body.len());
            response.headers_mut().insert("content-length", length);
            Err(response)
        };
        assert!(accept_hdr_async(stream, answer).await.is_err());
    }

    /// Accepts the next connection and says welcome.
    pub(crate) async fn welcome(&self, fields: Value) -> Peer {
        let mut peer = self.accept(Some("room.v1")).await;
        peer.send(json!([[welcome(fields)]])).await;
        peer
    }
}

pub(crate) fn welcome(fields: Value) -> Value {
    let mut welcome =
        json!({ "session": TOKEN, "resumed": false, "last": 0, "window": 4, "heartbeat": ["ping", "pong"] });
    welcome.as_object_mut().expect("a map").extend(fields.as_object().cloned().unwrap_or_default());
    json!({ "welcome": welcome })
}

impl Peer {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.raw(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the client reads");
    }

    /// The next frame of the client: JSON, or a string if it is not JSON.
    pub(crate) async fn next(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => {
                serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.as_str().to_owned()))
            }
            other => panic!("{other:?} in place of a text frame"),
        }
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        self.socket.next().await.map(|message| message.expect("a frame"))
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        self.raw(Message::Close(Some(frame))).await;
        let answer = self.socket.next().await;
        assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?} in place of the answer to a close");
    }

    /// The close frame of the client.
    pub(crate) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(frame))) => {
                    self.socket.flush().await.expect("the client reads the answer");
                    return frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// Answers an upgrade to `room.v1` over any stream.
#[cfg(feature = "tls")]
pub(crate) async fn upgrade<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    // The types of the library.
    #[expect(clippy::result_large_err)]
    let answer = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("room.v1"));
        Ok(response)
    };
    accept_hdr_async(stream, answer).await.expect("an upgrade")
}
