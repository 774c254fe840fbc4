//! An HTTP client with one connection for each request.

use std::io;

use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The URI has no host that is reachable without TLS.
    #[error("`{0}` is not an address that can be connected to: write `http://host:port/…` or `ws://host:port/…`")]
    Address(Uri),
    /// The connection failed.
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        /// The address of the attempt.
        address: String,
        /// The cause of the failure.
        source: io::Error,
    },
    /// The connection succeeded, but without a valid HTTP response.
    #[error("the HTTP exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
}

/// Sends a request with an absolute URI. The response's body is not read yet.
///
/// # Errors
/// Fails if there is no response.
pub async fn send<B>(mut request: Request<B>) -> Result<Response<Incoming>, HttpError>
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
    // A request to the server itself, rather than a proxy, contains only the path.
    if let Some(path) = uri.path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let unreachable = |source| HttpError::Unreachable { address: authority.to_string(), source };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Errors of the connection appear in the response that it carries.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// Reads the whole body of the response.
///
/// # Errors
/// Fails if the connection ends before the body.
pub async fn collect(response: Response<Incoming>) -> Result<Response<Bytes>, HttpError> {
    use http_body_util::BodyExt;

    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
