//! A room behind signed tokens: the page at `/`, the log-in at `/login`, the rooms at `/ws/:id`.
//!
//! The log-in is a pretence: it believes every name. A real one checks a password, a session or another service first.

#![forbid(unsafe_code)]

pub mod room;
pub mod token;

use room_runtime::prelude::*;
use worker::*;

use crate::{
    room::lounge,
    token::{Bearer, Keys},
};

#[event(fetch)]
async fn fetch(mut req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let (method, path) = (req.method(), req.path());
    match (&method, &*path) {
        (Method::Get, "/") => file("text/html; charset=utf-8", include_str!("../public/index.html")),
        (Method::Get, "/auth.js") => file("text/javascript; charset=utf-8", include_str!("../public/auth.js")),
        (Method::Post, "/login") => log_in(&mut req, &env).await,
        (Method::Get, path) => match path.strip_prefix("/ws/").filter(|room| is_name(room)) {
            // The room itself checks the token: every way into the room leads through its `on_upgrade`.
            Some(room) => {
                let rooms = lounge::RoomClient::from_env(&env)?;
                Ok(rooms.room(room).upgrade(req, Upgrade::new(lounge::Connection::default())).await?)
            }
            None => Response::error("there is nothing here", 404),
        },
        _ => Response::error("there is nothing here", 404),
    }
}

/// The body of a log-in, and its answer.
#[data]
struct LogIn {
    user: String,
    room: String,
}

#[data]
struct LoggedIn {
    token: String,
}

async fn log_in(req: &mut Request, env: &Env) -> Result<Response> {
    let Ok(LogIn { user, room }) = req.json().await else {
        return Response::error("the body is `{\"user\": \"…\", \"room\": \"…\"}`", 400);
    };
    if !is_name(&user) || !is_name(&room) {
        return Response::error("a name has 1 to 32 of the characters a to z, 0 to 9 and `-`", 400);
    }
    let keys = Keys::parse(&env.secret("TOKEN_KEYS")?.to_string())?;
    let token = keys.sign(Bearer { user, room }, Date::now().as_millis())?;
    let response = Response::from_json(&LoggedIn { token })?;
    // A token must not be stored on its way.
    response.headers().set("cache-control", "no-store")?;
    Ok(response)
}

/// Names of users and rooms: they need no encoding in a URL.
fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn file(content_type: &str, text: &str) -> Result<Response> {
    let response = Response::ok(text)?;
    response.headers().set("content-type", content_type)?;
    response.headers().set("x-content-type-options", "nosniff")?;
    let policy = "default-src 'self'; img-src data:; connect-src 'self' ws: wss:; base-uri 'none'";
    response.headers().set("content-security-policy", policy)?;
    Ok(response)
}
