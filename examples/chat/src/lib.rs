//! A chat: its rooms at `/ws/chat/:id`, and a small HTTP interface for the operator. The page at `/` consists of static
//! assets, which the platform serves.

#![forbid(unsafe_code)]

mod http;
pub mod room;

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use room_runtime::{
    PeerInfo,
    prelude::{Delivery, Upgrade, data},
};
use serde_json::{Value, json};
use tower_service::Service;
use worker::{Context, Env, HttpRequest, event};

use crate::{
    http::{Refusal, Room, authorize, decode, respond},
    room::{OPERATOR, chat},
};

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _ctx: Context) -> Result<Response, worker::Error> {
    let rooms = chat::RoomClient::from_env(&env)?;
    // Without a token in the configuration there is no operator.
    let token = env.var("ADMIN_TOKEN").map(|token| token.to_string()).unwrap_or_default();
    let Ok(response) = router(App { rooms, token }).call(request).await.map_err(|never: Infallible| match never {});
    Ok(response)
}

#[derive(Clone)]
struct App {
    rooms: chat::RoomClient,
    /// The operator's token.
    token: String,
}

type Answer<T> = Result<Json<T>, Refusal>;

fn router(app: App) -> Router {
    Router::new()
        .route("/ws/chat/{room}", get(join))
        .route("/api/chat/{room}/state", get(state))
        .route("/api/chat/{room}/peers", get(peers))
        .route("/api/chat/{room}/info", get(info))
        .route("/api/chat/{room}/say", post(say))
        .route("/api/chat/{room}/broadcast", post(broadcast))
        .method_not_allowed_fallback(async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this takes another method"))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .with_state(app)
}

/// The parameters of a query, in their order.
type Parameters = Query<Vec<(String, String)>>;

fn parameter(parameters: &Parameters, name: &str) -> Option<String> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

/// `GET /ws/chat/:room?userId=NAME`: opens a WebSocket to the room.
async fn join(
    State(app): State<App>,
    Room(room): Room,
    parameters: Parameters,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let name = parameter(&parameters, "userId").filter(|name| !name.is_empty());
    // A request that is no upgrade gets the error of `upgrade` first, before the error of a missing name.
    let name = match name {
        None if headers.contains_key(header::UPGRADE) => {
            return Err(Refusal::bad_request("the query needs a `userId`"));
        }
        Some(name) => {
            check_name(&name)?;
            name
        }
        None => String::new(),
    };
    let upgrade = Upgrade::new(chat::Connection { user_id: name.clone() }).id(name).meta(&key(&headers));
    respond(app.rooms.room(room).upgrade(request.try_into()?, upgrade).await?)
}

/// Refuses a name that nobody can see, and one that looks like the operator's.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_hidden = |c: char| {
        let is_format =
            matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        c.is_control() || is_format || c == '\u{feff}'
    };
    let seen: String = name.chars().filter(|c| !is_hidden(*c)).collect();
    match seen.trim().to_lowercase().as_str() {
        "" => Err(Refusal::bad_request("this name cannot be shown")),
        OPERATOR => {
            Err(Refusal::bad_request(format!("`{OPERATOR}` is who speaks for the operator; take another name")))
        }
        _ => Ok(()),
    }
}

/// The key by which a browser proves that a name is its own: the subprotocol `key.KEY`. A page can set no other header of
/// a WebSocket, and its URL ends up in logs.
fn key(headers: &HeaderMap) -> Option<&str> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).find_map(|protocol| protocol.trim().strip_prefix("key."))
}

/// `GET /api/chat/:room/state`
async fn state(State(app): State<App>, Room(room): Room) -> Answer<Option<chat::State>> {
    Ok(Json(app.rooms.room(room).state().await?))
}

/// `GET /api/chat/:room/peers?tag=TAG`
async fn peers(
    State(app): State<App>,
    Room(room): Room,
    parameters: Parameters,
) -> Answer<Vec<PeerInfo<chat::Connection>>> {
    let tag = parameter(&parameters, "tag");
    Ok(Json(app.rooms.room(room).peers(tag.as_deref()).await?))
}

/// `GET /api/chat/:room/info`
async fn info(State(app): State<App>, Room(room): Room) -> Answer<chat::Info> {
    use chat::Calls as _;

    Ok(Json(app.rooms.room(room).info().await?))
}

/// The body of the operator's `say`.
#[data]
struct Say {
    text: String,
}

/// `POST /api/chat/:room/say`: a message of the operator.
async fn say(State(app): State<App>, Room(room): Room, headers: HeaderMap, body: Bytes) -> Answer<Value> {
    authorize(&headers, &app.token)?;
    let Say { text } = decode(&body)?;
    app.rooms.room(room).send(&chat::Event::Say { text }).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// `POST /api/chat/:room/broadcast`: any message of the room, for all its peers.
async fn broadcast(State(app): State<App>, Room(room): Room, headers: HeaderMap, body: Bytes) -> Answer<Delivery> {
    authorize(&headers, &app.token)?;
    let message: chat::Broadcast = decode(&body)?;
    Ok(Json(app.rooms.room(room).broadcast(&message).await?))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Method,
    };
    use room_runtime::testing::World;

    use super::*;

    const TOKEN: &str = "dev-admin";

    /// Sends a request to the router, with rooms in memory. Only an upgrade needs Cloudflare.
    fn ask(world: &World, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(format!("https://example.com{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.to_owned()))
            .expect("a request");
        world.block_on(async {
            let mut router = router(App { rooms: world.client(), token: TOKEN.to_owned() });
            let Ok(response) = router.call(request).await.map_err(|never: Infallible| match never {});
            assert_eq!(response.headers()["content-type"], "application/json", "{path}");
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            (status, serde_json::from_slice(&body).expect("JSON"))
        })
    }

    fn get(world: &World, path: &str) -> (u16, Value) {
        ask(world, "GET", path, "", "")
    }

    #[test]
    fn a_room_id_is_one_decoded_segment() {
        let world = World::new();
        for id in ["r1", "a%2Fb", "%F0%9F%A6%80%20x", "a+b"] {
            let (status, _) = ask(&world, "POST", &format!("/api/chat/{id}/say"), TOKEN, r#"{"text":"hi"}"#);
            assert_eq!(status, 200, "{id}");
        }
        for id in ["r1", "a/b", "🦀 x", "a+b"] {
            let state = world.room::<chat::Room>(id).state().expect("an answer").expect("a state");
            assert_eq!(state.message_count, 1, "{id}");
        }
        for (id, expected) in [("%", 400), ("%zz", 400), ("%FF", 400), ("", 404), ("a/b", 404)] {
            assert_eq!(get(&world, &format!("/api/chat/{id}/state")).0, expected, "{id}");
        }
    }

    #[test]
    fn methods_and_paths_are_exact() {
        let world = World::new();
        for (method, path, expected) in [
            ("GET", "/api/chat/r/say", 405),
            ("PROPFIND", "/api/chat/r/state", 405),
            ("GET", "/nothing", 404),
            ("GET", "/api/chat/r/state/", 404),
            ("GET", "/api/chat/r/state?x=1", 200),
        ] {
            assert_eq!(ask(&world, method, path, TOKEN, "").0, expected, "{method} {path}");
        }
    }

    #[test]
    fn the_operator_needs_the_token() {
        let world = World::new();
        for token in ["", "dev-admi", "dev-admin2"] {
            for what in ["say", "broadcast"] {
                let (status, body) = ask(&world, "POST", &format!("/api/chat/r/{what}"), token, "no JSON");
                assert_eq!(status, 401, "{token} {body}");
            }
        }
        assert_eq!(ask(&world, "POST", "/api/chat/r/say", TOKEN, "no JSON").0, 400);
        let (status, body) =
            ask(&world, "POST", "/api/chat/r/say", TOKEN, &json!({ "text": "x".repeat(20_000) }).to_string());
        assert_eq!((status, &body["error"]), (403, &json!("a message has at most 16384 bytes")));
    }

    #[test]
    fn a_name_is_seen_and_not_the_operators() {
        for name in ["ada", "%41", "Zoë 🦀", "systematic", "a/b?c&d=e#f"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["system", "System", " system ", "sys\u{200b}tem", "\u{1}", "\n", "\u{202e}", " "] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_room_describes_itself() {
        let world = World::new();
        let room = world.room::<chat::Room>("r");
        let _ada = room.connect(Upgrade::new(chat::Connection { user_id: "ada".to_owned() }).id("ada"));
        let (status, info) = get(&world, "/api/chat/r/info");
        let nothing = json!({ "users": 1, "connections": 1, "message_count": 0, "stored": 0,
            "first_sent_at": null, "last_sent_at": null, "next_prune_at": null });
        assert_eq!((status, info), (200, nothing));
        assert_eq!(get(&world, "/api/chat/r/state").1, Value::Null, "a look changes nothing");
        let now = world.now_ms();
        ask(&world, "POST", "/api/chat/r/say", TOKEN, r#"{"text":"hi"}"#);
        let info = get(&world, "/api/chat/r/info").1;
        assert_eq!((&info["stored"], &info["last_sent_at"]), (&json!(1), &json!(now)));
        assert!(info["next_prune_at"].as_u64().is_some_and(|at| at > now && at <= now + 24 * 60 * 60 * 1000), "{info}");
    }
}
