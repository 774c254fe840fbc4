//! The HTTP interface of the chat: routes, bodies and refusals.

use percent_encoding::percent_decode_str;
use room_runtime::{Error, ErrorKind};
use worker::{Env, Request, Response};

pub(crate) type Answer = Result<Response, Refusal>;

/// The reason why a request is refused, as a status and a text.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Refusal::new(400, message)
    }

    pub(crate) fn into_response(self) -> worker::Result<Response> {
        let body = serde_json::json!({ "error": self.message });
        Ok(Response::from_json(&body)?.with_status(self.status))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidRoomId
            | ErrorKind::InvalidPeerId
            | ErrorKind::InvalidTag
            | ErrorKind::AttachmentTooLarge => 400,
            ErrorKind::Overloaded | ErrorKind::Restarted => 503,
            _ => 500,
        };
        Refusal::new(status, error.to_string())
    }
}

impl From<worker::Error> for Refusal {
    fn from(error: worker::Error) -> Self {
        Refusal::new(500, error.to_string())
    }
}

/// The target of a request. The platform serves the files of the page, before the Worker runs.
#[derive(Debug, PartialEq)]
pub(crate) enum Route {
    /// `GET /ws/chat/:id?userId=NAME`
    Join { room: String, user_id: Option<String> },
    /// `GET /api/chat/:id/state`
    State { room: String },
    /// `GET /api/chat/:id/peers?tag=T`
    Peers { room: String, tag: Option<String> },
    /// `POST /api/chat/:id/say`
    Say { room: String },
    /// `POST /api/chat/:id/broadcast`
    Broadcast { room: String },
}

impl Route {
    pub(crate) fn parse(method: &str, url: &str) -> Result<Route, Refusal> {
        let (path, query) = path_and_query(url);
        let path: Vec<&str> = path.split('/').skip(1).collect();
        let (expected, route) = match &*path {
            ["ws", "chat", room] => {
                let user_id = parameter(query, "userId").filter(|user_id| !user_id.is_empty());
                ("GET", Route::Join { room: segment(room)?, user_id })
            }
            ["api", "chat", room, "state"] => ("GET", Route::State { room: segment(room)? }),
            ["api", "chat", room, "peers"] => {
                ("GET", Route::Peers { room: segment(room)?, tag: parameter(query, "tag") })
            }
            ["api", "chat", room, "say"] => ("POST", Route::Say { room: segment(room)? }),
            ["api", "chat", room, "broadcast"] => ("POST", Route::Broadcast { room: segment(room)? }),
            _ => return Err(Refusal::new(404, "there is nothing here")),
        };
        if method != expected {
            return Err(Refusal::new(405, format!("this takes {expected}")));
        }
        Ok(route)
    }
}

/// Splits a URL in the platform's form, absolute and normalized. The `url` crate would be most of the wasm.
fn path_and_query(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |start| &rest[start..]);
    let path = path.split('#').next().unwrap_or(path);
    path.split_once('?').unwrap_or((path, ""))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Decodes one path segment. An invalid encoding is refused, because two ways to write one id must not lead to two
/// rooms, and two ids must not lead to one.
fn segment(encoded: &str) -> Result<String, Refusal> {
    let malformed = || Refusal::bad_request(format!("`{encoded}` is not a percent-encoded room id"));
    for (at, _) in encoded.match_indices('%') {
        let digits = encoded.as_bytes().get(at + 1..at + 3).ok_or_else(malformed)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed());
        }
    }
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| malformed())?;
    match &*decoded {
        "" => Err(Refusal::new(404, "a room id cannot be empty")),
        room => Ok(room.to_owned()),
    }
}

/// Checks that the request is from the operator: `Authorization: Bearer $ADMIN_TOKEN`.
pub(crate) fn authorize(req: &Request, env: &Env) -> Result<(), Refusal> {
    // There is no operator if no token is configured.
    let expected = env.var("ADMIN_TOKEN").map(|token| token.to_string()).unwrap_or_default();
    let given = req.headers().get("authorization")?.unwrap_or_default();
    let given = given.strip_prefix("Bearer ").unwrap_or_default();
    if expected.is_empty() || !same(given.as_bytes(), expected.as_bytes()) {
        return Err(Refusal::new(401, "this takes the operator's token: `Authorization: Bearer …`"));
    }
    Ok(())
}

/// Compares in constant time, so that the time does not reveal the number of correct bytes.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = given.iter().zip(expected).fold(0, |acc, (a, b)| acc | (a ^ b));
    given.len() == expected.len() && differing == 0
}

/// Decodes the body of a request as JSON.
pub(crate) async fn body<T: serde::de::DeserializeOwned>(req: &mut Request) -> Result<T, Refusal> {
    let text = req.text().await?;
    serde_json::from_str(&text)
        .map_err(|error| Refusal::bad_request(format!("the body is not what it must be: {error}")))
}

pub(crate) fn json(value: &impl serde::Serialize) -> Answer {
    Ok(Response::from_json(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(url: &str) -> Result<Route, u16> {
        Route::parse("GET", url).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_room_id_is_one_decoded_segment() {
        let state = |room: &str| Ok(Route::State { room: room.to_owned() });
        assert_eq!(get("http://h/api/chat/r1/state"), state("r1"));
        assert_eq!(get("http://h/api/chat/a%2Fb/state?x=1#y"), state("a/b"));
        assert_eq!(get("http://h/api/chat/%F0%9F%A6%80%20x/state"), state("🦀 x"));
        assert_eq!(get("http://h/api/chat/a+b/state"), state("a+b"));
        assert_eq!(get("http://h/api/chat/%/state"), Err(400));
        assert_eq!(get("http://h/api/chat/%zz/state"), Err(400));
        assert_eq!(get("http://h/api/chat/%FF/state"), Err(400));
        assert_eq!(get("http://h/api/chat//state"), Err(404));
        assert_eq!(get("http://h/api/chat/a/b/state"), Err(404));
    }

    #[test]
    fn a_name_is_a_query_parameter() {
        let join =
            |user_id: Option<&str>| Ok(Route::Join { room: "r".to_owned(), user_id: user_id.map(str::to_owned) });
        assert_eq!(get("http://h/ws/chat/r?userId=al%20ice+b"), join(Some("al ice b")));
        assert_eq!(get("http://h/ws/chat/r?userId="), join(None));
        assert_eq!(get("http://h/ws/chat/r"), join(None));
    }

    #[test]
    fn methods_and_paths_are_exact() {
        assert_eq!(get("http://h/api/chat/r/say"), Err(405));
        assert_eq!(get("http://h/nothing"), Err(404));
        assert_eq!(get("http://h"), Err(404));
        assert!(Route::parse("POST", "http://h/api/chat/r/say").is_ok());
        assert!(Route::parse("PROPFIND", "http://h/api/chat/r/state").is_err());
    }

    #[test]
    fn tokens_compare_whole() {
        assert!(same(b"dev-admin", b"dev-admin"));
        assert!(!same(b"dev-admi", b"dev-admin"));
        assert!(!same(b"", b"dev-admin"));
    }
}
