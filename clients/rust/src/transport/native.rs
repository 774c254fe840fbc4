//! [`NativeTransport`]: the sockets and timers of tokio.

#[cfg(feature = "tls")]
use std::sync::{Arc, OnceLock};
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_sink::Sink;
use http::{HeaderName, HeaderValue, Response, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep},
};
#[cfg(feature = "tls")]
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        client::IntoClientRequest,
        error::ProtocolError,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use super::{ConnectError, Frame, Socket, Transport, UpgradeRequest};
use crate::error::BoxError;

/// The largest message, in bytes. A Durable Object sends at most 32 MiB
/// (<https://developers.cloudflare.com/durable-objects/platform/limits/>).
const MAX_MESSAGE: usize = 64 << 20;

/// The sockets and timers of tokio, and with the feature `tls` also `wss:`.
///
/// The certificates are checked against the authorities of Mozilla, by rustls and ring, unless `tls` sets another
/// configuration.
///
/// ```
/// use std::sync::Arc;
///
/// use room_client::{Builder, NativeTransport, rustls::ClientConfig};
/// # #[derive(serde::Serialize)] struct Event;
/// # #[derive(serde::Deserialize)] struct Broadcast;
///
/// /// Connects to a server whose certificate is of an authority of one's own.
/// fn connect(config: Arc<ClientConfig>) {
///     let builder = Builder::new("wss://localhost:8443/ws/chat/main");
///     let transport = NativeTransport::new().tls(config);
///     let (room, messages, driver) = builder.connect_with::<Event, Broadcast, _>(transport);
///     tokio::spawn(driver);
///     // …
/// }
/// ```
#[derive(Clone, Debug)]
pub struct NativeTransport {
    start: Instant,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientConfig>>,
}

/// The configuration of one connection.
#[cfg(feature = "tls")]
type Tls = Option<Arc<ClientConfig>>;

#[cfg(not(feature = "tls"))]
type Tls = ();

impl NativeTransport {
    /// Creates the transport.
    pub fn new() -> Self {
        NativeTransport {
            start: Instant::now(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the configuration of `wss:`, for example with other authorities or with a certificate of the client.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

impl Default for NativeTransport {
    fn default() -> Self {
        NativeTransport::new()
    }
}

impl Transport for NativeTransport {
    type Socket = NativeSocket;
    type Connect = Pin<Box<dyn Future<Output = Result<NativeSocket, ConnectError>> + Send>>;
    type Sleep = Sleep;

    fn connect(&self, request: UpgradeRequest) -> Self::Connect {
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        #[cfg(not(feature = "tls"))]
        let tls = ();
        Box::pin(connect(request, tls))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        tokio::time::sleep(time)
    }

    fn seed(&self) -> u64 {
        // Each has new random keys.
        RandomState::new().build_hasher().finish()
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn connect(request: UpgradeRequest, tls: Tls) -> Result<NativeSocket, ConnectError> {
    let UpgradeRequest { url, protocols, headers } = request;
    let mut request = url.into_client_request().map_err(ConnectError::endpoint)?;
    let offer = HeaderValue::try_from(protocols.join(", ")).map_err(ConnectError::endpoint)?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(ConnectError::endpoint)?;
        let mut value = HeaderValue::try_from(value).map_err(ConnectError::endpoint)?;
        value.set_sensitive(true);
        request.headers_mut().append(name, value);
    }

    let uri = request.uri();
    let is_secure = uri.scheme_str() == Some("wss");
    // An IPv6 address has brackets in a URL.
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(ConnectError::network)?;
    stream.set_nodelay(true).map_err(ConnectError::network)?;
    let stream: Box<dyn Io> = if is_secure { secure(&host, stream, tls).await? } else { Box::new(stream) };

    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let (stream, response) = match client_async_with_config(request, stream, Some(config)).await {
        Ok(opened) => opened,
        Err(WsError::Http(response)) => return Err(refused(&response)),
        Err(error @ WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_))) => {
            return Err(ConnectError::protocol(error));
        }
        Err(error) => return Err(ConnectError::network(error)),
    };
    let protocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let protocol = protocol.and_then(|protocol| protocol.to_str().ok()).map(str::to_owned);
    Ok(NativeSocket { stream, protocol })
}

fn refused(response: &Response<Option<Vec<u8>>>) -> ConnectError {
    let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    ConnectError::refused(response.status().as_u16(), &body, retry_after)
}

#[cfg(feature = "tls")]
async fn secure(host: &str, stream: TcpStream, config: Tls) -> Result<Box<dyn Io>, ConnectError> {
    let config = match config {
        Some(config) => config,
        None => default_tls()?,
    };
    let name = ServerName::try_from(host.to_owned()).map_err(ConnectError::endpoint)?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(ConnectError::network)?;
    Ok(Box::new(stream))
}

#[cfg(feature = "tls")]
fn default_tls() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();

    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::protocol)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &str, _: TcpStream, (): Tls) -> Result<Box<dyn Io>, ConnectError> {
    Err(ConnectError::endpoint("`wss:` needs the feature `tls` of room-client"))
}

/// A socket of [`NativeTransport`].
///
/// Programs name it only in a transport of their own that wraps it:
///
/// ```
/// use room_client::{ConnectError, Frame, NativeSocket, Socket};
///
/// /// Lets only a socket of the protocol pass.
/// fn checked(socket: NativeSocket) -> Result<NativeSocket, ConnectError> {
///     match socket.protocol() {
///         Some("room.v1") => Ok(socket),
///         _ => Err(ConnectError::protocol("the server does not speak `room.v1`")),
///     }
/// }
/// ```
pub struct NativeSocket {
    stream: WebSocketStream<Box<dyn Io>>,
    protocol: Option<String>,
}

impl Socket for NativeSocket {
    fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

impl Stream for NativeSocket {
    type Item = Result<Frame, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes.into()),
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    Frame::Close { code: code.into(), reason: reason.as_str().to_owned() }
                }
                Some(Ok(Message::Close(None))) => Frame::Close { code: 1005, reason: String::new() },
                Some(Ok(_)) => continue,
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            };
            return Poll::Ready(Some(Ok(frame)));
        }
    }
}

impl Sink<Frame> for NativeSocket {
    type Error = BoxError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Pin::new(&mut self.stream).poll_ready(cx).map_err(Into::into)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        let message = match frame {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes.into()),
            Frame::Close { code, reason } => {
                Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
            }
        };
        Pin::new(&mut self.stream).start_send(message).map_err(Into::into)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(Into::into)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Pin::new(&mut self.stream).poll_close(cx).map_err(Into::into)
    }
}

impl fmt::Debug for NativeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeSocket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
