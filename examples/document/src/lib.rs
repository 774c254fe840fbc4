//! A shared document: its rooms at `/ws/NAME`, for every client of the y-websocket protocol. The page consists of static
//! assets, which the platform serves.

#![forbid(unsafe_code)]

mod check;
mod presence;
pub mod room;
mod store;
mod wire;

#[cfg(test)]
mod tests;

use percent_encoding::percent_decode_str;
use room_runtime::prelude::*;
use worker::*;

use crate::room::document as rooms;

#[event(start)]
fn start() {
    room_runtime::logs::init(room_runtime::logs::Level::INFO);
}

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    match name(&req.inner().url()) {
        Ok(name) => {
            let rooms = rooms::RoomClient::from_env(&env)?;
            match rooms.room(name).upgrade(req, Upgrade::new(rooms::Connection::default())).await {
                Ok(response) => Ok(response),
                Err(error) => error.into_response(),
            }
        }
        Err((status, text)) => Response::error(text, status),
    }
}

/// The longest name of a document, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The name of the document in a URL: everything after `/ws/`, decoded.
///
/// The provider of y-websocket appends `/` and the name to its server's URL, and encodes nothing. So a name can have slashes, and
/// the URL is normalized when it arrives.
fn name(url: &str) -> std::result::Result<String, (u16, &'static str)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |start| &rest[start..]);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let encoded = path.strip_prefix("/ws/").ok_or((404, "there is nothing here"))?;
    let malformed = (400, "the name of the document is not percent-encoded UTF-8");
    // Otherwise `%2` and `%252` would be two names of one document.
    let mut escapes = encoded.match_indices('%');
    if !escapes
        .all(|(at, _)| encoded.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
    {
        return Err(malformed);
    }
    let name = percent_decode_str(encoded).decode_utf8().map_err(|_| malformed)?;
    match name.len() {
        0 => Err((404, "a document has a name: /ws/NAME")),
        1..=MAX_NAME_BYTES => Ok(name.into_owned()),
        _ => Err((400, "the name of a document has at most 128 bytes")),
    }
}
