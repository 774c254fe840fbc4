//! HTTP requests and responses between Worker and room: types of the `http` crate, and their encoding.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, types::error::Refused};

/// The text of the 404 of a room without `on_request`.
pub(crate) const NO_REQUESTS: &str = "this room takes no requests";

const JSON: &str = "application/json";

/// The content type of a line of text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// Creates a response with a line of text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

/// Creates a response with a body that is JSON already.
pub(crate) fn json_text(status: StatusCode, json: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// Creates a response for an error, of the same form as an error frame.
pub(crate) fn error_response(status: StatusCode, code: ErrorKind, message: &str) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: BodyError<'a>,
    }
    #[derive(Serialize)]
    struct BodyError<'a> {
        code: ErrorKind,
        message: &'a str,
    }
    // The serialization of two strings cannot fail.
    json_text(status, serde_json::to_vec(&Body { error: BodyError { code, message } }).unwrap_or_default())
}

/// A request without its body, serialized as one JSON string.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// A response without its body, serialized as one JSON string.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl RequestHead {
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let headers = pairs(request.headers());
        RequestHead { method: request.method().to_string(), uri: request.uri().to_string(), headers }
    }

    pub(crate) fn into_request<B>(self, body: B) -> Result<Request<B>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|error| invalid("method", &self.method, &error))?;
        *request.uri_mut() = self.uri.parse::<Uri>().map_err(|error| invalid("URI", &self.uri, &error))?;
        insert(request.headers_mut(), self.headers)?;
        Ok(request)
    }
}

impl ResponseHead {
    pub(crate) fn of<B>(response: &Response<B>) -> Self {
        ResponseHead { status: response.status().as_u16(), headers: pairs(response.headers()) }
    }
}

/// Returns the names and values of headers as strings. A value is bytes; like JavaScript, the JSON has one character
/// for each byte.
fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn insert(headers: &mut http::HeaderMap, pairs: Vec<(String, String)>) -> Result<(), Error> {
    for (name, value) in pairs {
        let bytes = value.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<u8>, _>>();
        let bytes = bytes.map_err(|error| invalid("header value", &value, &error))?;
        let value = HeaderValue::from_bytes(&bytes).map_err(|error| invalid("header value", &value, &error))?;
        let name = name.parse::<HeaderName>().map_err(|error| invalid("header name", &name, &error))?;
        headers.append(name, value);
    }
    Ok(())
}

fn invalid(what: &str, value: &str, error: &dyn std::error::Error) -> Error {
    Error::new(ErrorKind::Decode, format!("`{value}` is not a {what}: {error}"))
}

/// Returns whether a Worker can answer with this status: the platform creates no other response without a socket.
pub(crate) fn is_answer(status: StatusCode) -> bool {
    (200..=599).contains(&status.as_u16())
}

impl Error {
    /// Converts the error into the Worker's answer to a client.
    ///
    /// The answer has the error's [status](Error::status) and the body
    /// `{"error": {"code": "refused", "message": "the auction is over"}}`, or the message of a [typed
    /// refusal](Error::refusal) unchanged. For a status of 500 or more the client gets a general text, such as
    /// `the room failed`, because the details are for the log. A 503 also asks the client to retry after a second.
    ///
    /// ```no_run
    /// # use room_runtime::{Error, Room, RoomHandle};
    /// # async fn example<R: Room>(room: RoomHandle<R>, event: R::Event) -> worker::Result<worker::Response> {
    /// match room.send(&event).await {
    ///     Ok(()) => worker::Response::ok("sent"),
    ///     Err(error) => error.into_response(),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// No error is known: the platform can create each of these responses.
    pub fn into_response(self) -> worker::Result<worker::Response> {
        let (head, body) = Response::from(self).into_parts();
        let response = worker::Response::from_bytes(body.to_vec())?.with_status(head.status.as_u16());
        for (name, value) in &head.headers {
            response.headers().set(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        Ok(response)
    }
}

/// Converts the error as [`Error::into_response`] does.
impl From<Error> for Response<Bytes> {
    fn from(error: Error) -> Self {
        let status = error.status();
        let mut response = match error.refusal_json() {
            Some(refusal) => json_text(status, refusal.to_owned()),
            // The message of the platform or of the room's code is for the log.
            None if status.is_server_error() && error.kind() != ErrorKind::Refused => error_response(
                status,
                error.kind(),
                match status {
                    StatusCode::SERVICE_UNAVAILABLE => "the room cannot answer now",
                    StatusCode::GATEWAY_TIMEOUT => "the room took too long",
                    _ => "the room failed",
                },
            ),
            None => error_response(status, error.kind(), error.message()),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns the error of a client that requested a socket and got this answer instead.
pub(crate) fn no_socket(status: u16, content_type: Option<&str>, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Body {
        error: BodyError,
    }
    #[derive(Deserialize)]
    struct BodyError {
        message: String,
    }
    let text = String::from_utf8_lossy(body);
    let is_json = content_type.is_some_and(|content_type| content_type.starts_with(JSON));
    // A 503 is a refusal, because it is temporary: the room is full, or still busy with this peer.
    let kind = if (500..=599).contains(&status) && status != 503 { ErrorKind::Handler } else { ErrorKind::Refused };
    let error = match serde_json::from_str::<Body>(&text) {
        Ok(Body { error }) if is_json => Error::new(kind, error.message),
        _ => {
            let refusal = is_json.then(|| text.clone().into());
            Error::new(kind, format!("the room answered {status}: {text}")).with_refusal(refusal)
        }
    };
    error.with_status(StatusCode::from_u16(status).ok())
}

impl Refused {
    /// Returns the refusal as an HTTP response.
    pub(crate) fn response(&self) -> Response<Bytes> {
        match self.message() {
            Some(message) => json_text(self.status(), message.to_string()),
            None => error_response(self.status(), ErrorKind::Refused, self.reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_with_repeated_headers_and_bytes_that_are_not_ascii() {
        let request = Request::builder()
            .method("PROPFIND")
            .uri("https://h/a%20b?c=d")
            .header("x-a", "1")
            .header("x-a", HeaderValue::from_bytes(b"caf\xe9").expect("a header value"))
            .body(())
            .expect("a request");
        let head = serde_json::to_string(&RequestHead::of(&request)).expect("encodes");
        let head: RequestHead = serde_json::from_str(&head).expect("decodes");
        let back = head.into_request(()).expect("the same request");
        assert_eq!((back.method(), back.uri()), (request.method(), request.uri()));
        assert_eq!(back.headers(), request.headers());
    }

    #[test]
    fn an_invalid_request_is_a_typed_error() {
        let head = |method: &str, uri: &str, name: &str, value: &str| RequestHead {
            method: method.to_owned(),
            uri: uri.to_owned(),
            headers: vec![(name.to_owned(), value.to_owned())],
        };
        for (head, what) in [
            (head("G T", "/", "a", "b"), "method"),
            (head("GET", "http://[", "a", "b"), "URI"),
            (head("GET", "/", "a b", "c"), "header name"),
            (head("GET", "/", "a", "\u{2026}"), "header value"),
            (head("GET", "/", "a", "b\nc"), "header value"),
        ] {
            let error = head.into_request(()).map(|_: Request<()>| ()).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.message().contains(what), "{error}");
        }
    }

    fn answer(error: Error) -> (u16, String, bool) {
        let response = Response::from(error);
        let body = String::from_utf8(response.body().to_vec()).expect("UTF-8");
        (response.status().as_u16(), body, response.headers().contains_key("retry-after"))
    }

    #[test]
    fn a_client_gets_errors_to_act_on_and_no_inner_text() {
        let body = |code: &str, message: &str| format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
        for (kind, status, message, again) in [
            (ErrorKind::InvalidRoomId, 400, "inner text", false),
            (ErrorKind::Refused, 403, "inner text", false),
            (ErrorKind::PeerGone, 410, "inner text", false),
            (ErrorKind::RateLimited, 429, "inner text", false),
            (ErrorKind::Handler, 500, "the room failed", false),
            (ErrorKind::Storage, 500, "the room failed", false),
            (ErrorKind::Overloaded, 503, "the room cannot answer now", true),
            (ErrorKind::Restarted, 503, "the room cannot answer now", true),
            (ErrorKind::Timeout, 504, "the room took too long", false),
        ] {
            assert_eq!(answer(Error::new(kind, "inner text")), (status, body(kind.as_str(), message), again));
        }
    }

    #[test]
    fn a_message_that_was_refused_with_is_the_body() {
        let error = Error::new(ErrorKind::Refused, "no").with_refusal(Some(r#"{"type":"Sold"}"#.into()));
        assert_eq!(answer(error), (403, r#"{"type":"Sold"}"#.to_owned(), false));
    }
}
