//! A peer of a room: a WebSocket that is cheap for the load generator, because there are thousands.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::{net::TcpStream, time};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest,
        error::{ProtocolError, SubProtocolError},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::variants::Variant;

/// The longest wait for an answer: far more than normal, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// The size of a socket's read buffer. The largest workload has 11,000 sockets.
const READ_BUFFER: usize = 4 * 1024;

/// The number of concurrent handshakes.
const CONNECTING: usize = 16;

/// A variant, and its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) variant: Variant,
    pub(crate) address: SocketAddr,
}

impl Place {
    /// A room with a name that no other variant on the same worker uses.
    pub(crate) fn room(self, name: &str) -> Room {
        Room { address: self.address, name: format!("{}-{name}", self.variant) }
    }
}

/// A room of a variant.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
}

impl Room {
    /// Connects a peer.
    pub(crate) async fn peer(&self, user: &str) -> Result<Peer> {
        let connected = self.open(user, None).await?;
        connected.with_context(|| format!("room {} refused a peer", self.name))
    }

    /// Connects that many peers, named by their number.
    pub(crate) async fn peers(&self, count: usize) -> Result<Vec<Peer>> {
        let connecting = stream::iter(0..count).map(async |number| self.peer(&user(number)).await);
        connecting.buffered(CONNECTING).try_collect().await
    }

    /// Connects a peer that offers a subprotocol; returns `None` if the room does not select it.
    pub(crate) async fn offer(&self, user: &str, protocol: &'static str) -> Result<Option<Peer>> {
        self.open(user, Some(protocol)).await
    }

    async fn open(&self, user: &str, protocol: Option<&'static str>) -> Result<Option<Peer>> {
        let what = || format!("connecting {user} to room {}", self.name);
        let opening = time::timeout(PATIENCE, async {
            let mut request = format!("ws://{}/{}?user={user}", self.address, self.name).into_client_request()?;
            if let Some(protocol) = protocol {
                request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let stream = TcpStream::connect(self.address).await.map_err(Error::Io)?;
            stream.set_nodelay(true).map_err(Error::Io)?;
            let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
            client_async_with_config(request, stream, Some(config)).await
        });
        match opening.await.with_context(|| format!("waited {PATIENCE:?} for {}", what()))? {
            Ok((socket, _)) => Ok(Some(Peer { socket, user: user.to_owned() })),
            Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol))) => {
                Ok(None)
            }
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                bail!("{} was answered {}: {body}", what(), response.status())
            }
            Err(error) => Err(error).with_context(what),
        }
    }
}

/// The name of the peer with that number.
pub(crate) fn user(number: usize) -> String {
    format!("user-{number}")
}

/// A connected peer. Dropping it drops the connection.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    user: String,
}

impl Peer {
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) async fn send(&mut self, frame: impl Into<Utf8Bytes>) -> Result<()> {
        let sending = time::timeout(PATIENCE, self.socket.send(Message::Text(frame.into()))).await;
        let sent = sending.with_context(|| format!("{} waited {PATIENCE:?} to send", self.user))?;
        sent.with_context(|| format!("{} cannot send", self.user))
    }

    /// Returns the next frame.
    pub(crate) async fn receive(&mut self) -> Result<Utf8Bytes> {
        let receiving = time::timeout(PATIENCE, self.next()).await;
        receiving.with_context(|| format!("{} waited {PATIENCE:?} for a frame", self.user))?
    }

    /// Returns the next frame, without a bound. Dropping the future loses no data.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Ok(text),
            Some(Ok(other)) => bail!("{} received {other:?} instead of text", self.user),
            Some(Err(error)) => Err(error).with_context(|| format!("{} cannot receive", self.user)),
            None => bail!("{}'s connection has ended", self.user),
        }
    }

    /// Closes with 1000 and waits for the room's close.
    pub(crate) async fn close(mut self) -> Result<()> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };
        let closing = time::timeout(PATIENCE, async {
            self.socket.close(Some(frame)).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<_, Error>(())
        });
        let closed = closing.await.with_context(|| format!("{} waited {PATIENCE:?} to be closed", self.user))?;
        closed.with_context(|| format!("{} cannot close", self.user))
    }
}
