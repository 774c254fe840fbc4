//! HTTP, one connection for each request.

use std::io;

use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URI names no host that is reached without TLS.
    #[error("`{0}` is not an address that can be connected to: write `http://host:port/…` or `ws://host:port/…`")]
    Address(Uri),
    /// There is no connection.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// Who was tried.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// There was a connection, and no response that HTTP allows.
    #[error("the HTTP exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
}

/// Sends a request; its URI is absolute. The response's body is still to be read.
pub(crate) async fn send<B>(mut request: Request<B>) -> Result<Response<Incoming>, HttpError>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let uri = request.uri().clone();
    let (Some("http" | "ws"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(HttpError::Address(uri));
    };
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| HttpError::Address(uri.clone()))?;
    request.headers_mut().entry(HOST).or_insert(host);
    // To the server itself, and not to a proxy, a request names only the path.
    if let Some(path) = uri.path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let unreachable = |source| HttpError::Unreachable { address: authority.to_string(), source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What becomes of the connection shows in what it carries.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// The response with its whole body.
pub(crate) async fn collect(response: Response<Incoming>) -> Result<Response<Bytes>, HttpError> {
    use http_body_util::BodyExt;

    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
