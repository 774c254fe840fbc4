//! The parts of the HTTP interface that axum does not have: the id of a room, the operator's token, and refusals.

use axum::{
    Json,
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use room_runtime::{Error, ErrorKind};
use serde_json::json;
use worker::HttpResponse;

/// The reason why a request is refused, as a status and a text.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

/// An error of a room, with its own status.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::new(error.status(), error.message())
    }
}

impl From<worker::Error> for Refusal {
    fn from(error: worker::Error) -> Self {
        let other = |error: worker::Error| Error::new(ErrorKind::Platform, error.to_string());
        Error::try_from(error).unwrap_or_else(other).into()
    }
}

/// Converts a response of a room. It keeps the WebSocket of a 101.
pub(crate) fn respond(response: worker::Response) -> Result<Response, Refusal> {
    Ok(HttpResponse::try_from(response)?.map(Body::new))
}

/// The id of a room: the third segment of each path.
///
/// An invalid encoding is refused, because two ways to write one id must not lead to two rooms, and two ids must not lead to
/// one.
pub(crate) struct Room(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Room {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let encoded = parts.uri.path().split('/').nth(3).unwrap_or_default();
        let malformed = || Refusal::bad_request(format!("`{encoded}` is not a percent-encoded room id"));
        for (at, _) in encoded.match_indices('%') {
            let digits = encoded.as_bytes().get(at + 1..at + 3).ok_or_else(malformed)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(malformed());
            }
        }
        let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| malformed())?;
        match &*decoded {
            "" => Err(Refusal::new(StatusCode::NOT_FOUND, "a room id cannot be empty")),
            room => Ok(Room(room.to_owned())),
        }
    }
}

/// Checks that the request is from the operator: `Authorization: Bearer $ADMIN_TOKEN`.
pub(crate) fn authorize(headers: &HeaderMap, token: &str) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = given.strip_prefix("Bearer ").unwrap_or_default();
    if token.is_empty() || !same(given.as_bytes(), token.as_bytes()) {
        let message = "this takes the operator's token: `Authorization: Bearer …`";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
    }
    Ok(())
}

/// Compares in constant time, so that the time does not reveal the number of correct bytes.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = given.iter().zip(expected).fold(0, |acc, (a, b)| acc | (a ^ b));
    given.len() == expected.len() && differing == 0
}

/// Decodes the body of a request as JSON, whatever its `content-type` is.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not what it must be: {error}")))
}
