//! Rooms behind an axum router: WebSockets, JSON and the rooms' own routes.

#![forbid(unsafe_code)]

pub mod archive_room;
pub mod poll_room;

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use room_runtime::{
    Error, Stats,
    logs::{self, Level},
    prelude::{Bytes, ErrorKind, Upgrade, http},
};
use serde::Deserialize;
use tower_service::Service;
use worker::{Context, Env, HttpRequest, HttpResponse, event};

use crate::{archive_room::archive, poll_room::poll};

#[event(start)]
fn start() {
    logs::init(Level::INFO);
}

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _ctx: Context) -> Result<Response, worker::Error> {
    let mut router = router(poll::RoomClient::from_env(&env)?, archive::RoomClient::from_env(&env)?);
    let Ok(response) = router.call(request).await.map_err(|never: Infallible| match never {});
    Ok(response)
}

/// The routes. A client is `Clone`, `Send` and `Sync`, as axum expects of its state.
fn router(polls: poll::RoomClient, archives: archive::RoomClient) -> Router {
    let polls = Router::new()
        .route("/polls/{id}", get(read))
        .route("/polls/{id}/votes", post(vote))
        .route("/polls/{id}/close", post(close))
        .route("/polls/{id}/ws", get(join))
        .route("/polls/{id}/room/{*path}", any(forward))
        .route("/polls/{id}/stats", get(stats))
        .route("/totals", get(totals))
        .with_state(polls);
    let archive = Router::new()
        .route("/archive", get(archived))
        .route("/archive/choices", get(archived))
        .route("/archive/ws", get(watch))
        .with_state(archives);
    polls.merge(archive).layer(middleware::map_response(uncached))
}

/// The votes of a poll.
async fn read(State(rooms): State<poll::RoomClient>, Path(id): Path<String>) -> Result<Json<poll::State>, Failed> {
    Ok(Json(rooms.room(id).state().await?.unwrap_or_default()))
}

#[derive(Deserialize)]
struct Vote {
    choice: String,
}

async fn vote(
    State(rooms): State<poll::RoomClient>,
    Path(id): Path<String>,
    Json(Vote { choice }): Json<Vote>,
) -> Result<StatusCode, Failed> {
    rooms.room(id).send(&poll::Event::Vote { choice }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn close(State(rooms): State<poll::RoomClient>, Path(id): Path<String>) -> Result<StatusCode, Failed> {
    rooms.room(id).send(&poll::Event::Close).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Join {
    voter: String,
}

/// Opens a WebSocket to the poll.
async fn join(
    State(rooms): State<poll::RoomClient>,
    Path(id): Path<String>,
    Query(Join { voter }): Query<Join>,
    request: Request,
) -> Result<Response, Failed> {
    let upgrade = Upgrade::new(poll::Connection {}).id(voter);
    respond(rooms.room(id).upgrade(request.try_into()?, upgrade).await?)
}

/// Forwards a request to the `on_request` of the poll.
async fn forward(
    State(rooms): State<poll::RoomClient>,
    Path((id, _)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failed> {
    respond(rooms.room(id).request(request.try_into()?).await?)
}

/// The figures of a poll: its peers, its frames, what it refused.
async fn stats(State(rooms): State<poll::RoomClient>, Path(id): Path<String>) -> Result<Json<Stats>, Failed> {
    Ok(Json(rooms.room(id).stats().await?))
}

#[derive(Deserialize)]
struct Polls {
    /// The ids, separated by commas.
    polls: String,
}

/// The number of votes in several polls. A poll that cannot be reached is `null`.
async fn totals(
    State(rooms): State<poll::RoomClient>,
    Query(Polls { polls }): Query<Polls>,
) -> Json<BTreeMap<String, Option<u32>>> {
    let states = rooms.federate(polls.split(','), |room| room.state()).await;
    let total = |state: Option<poll::State>| state.unwrap_or_default().votes.values().sum();
    Json(states.into_iter().map(|(id, state)| (id.to_string(), state.ok().map(total))).collect())
}

/// Forwards a request to the `on_request` of the archive.
async fn archived(State(rooms): State<archive::RoomClient>, request: Request) -> Result<Response, Failed> {
    respond(rooms.room(archive::ID).request(request.try_into()?).await?)
}

/// Opens a WebSocket to the archive.
async fn watch(State(rooms): State<archive::RoomClient>, request: Request) -> Result<Response, Failed> {
    let upgrade = Upgrade::new(archive::Connection {});
    respond(rooms.room(archive::ID).upgrade(request.try_into()?, upgrade).await?)
}

/// Converts a response of a room. It keeps its headers, and the WebSocket of a 101.
fn respond(response: worker::Response) -> Result<Response, Failed> {
    Ok(HttpResponse::try_from(response)?.map(Body::new))
}

/// Adds a header to every response, also to a 101.
async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error of a room as the response of a route: with its own status, 409 for a vote in a closed poll, 422 for an
/// invalid one.
#[derive(Debug)]
struct Failed(Error);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        http::Response::<Bytes>::from(self.0).map(Body::from)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed(error)
    }
}

impl From<worker::Error> for Failed {
    fn from(error: worker::Error) -> Self {
        let other = |error: worker::Error| Error::new(ErrorKind::Platform, error.to_string());
        Failed(Error::try_from(error).unwrap_or_else(other))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use room_runtime::testing::World;

    use super::*;

    /// Sends a request to the router, with rooms in memory. Only a `worker::Request` needs Cloudflare.
    fn ask(world: &World, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://example.com{path}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        world.block_on(async {
            let mut router = router(world.client(), world.client());
            let Ok(response) = router.call(request).await.map_err(|never: Infallible| match never {});
            assert_eq!(response.headers()["cache-control"], "no-store");
            let status = response.status();
            let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
        })
    }

    #[test]
    fn votes_are_counted_until_the_poll_is_closed() {
        let world = World::new();
        let vote = |poll: &str| ask(&world, "POST", &format!("/polls/{poll}/votes"), r#"{"choice":"soup"}"#).0;
        for poll in ["lunch", "lunch", "a%20b"] {
            assert_eq!(vote(poll), StatusCode::NO_CONTENT);
        }
        let (status, state) = ask(&world, "GET", "/polls/lunch", "");
        assert_eq!((status, &*state), (StatusCode::OK, r#"{"votes":{"soup":2},"is_closed":false}"#));
        let totals = ask(&world, "GET", "/totals?polls=lunch,,a%20b,new", "").1;
        assert_eq!(totals, r#"{"":null,"a b":1,"lunch":2,"new":0}"#);

        assert_eq!(ask(&world, "POST", "/polls/lunch/close", "").0, StatusCode::NO_CONTENT);
        assert_eq!(vote("lunch"), StatusCode::CONFLICT);
    }

    #[test]
    fn an_error_of_a_room_is_a_response() {
        let world = World::new();
        ask(&world, "POST", "/polls/lunch/close", "");
        let (status, body) = ask(&world, "POST", "/polls/lunch/votes", r#"{"choice":"soup"}"#);
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(body.contains("the poll is closed") && body.contains("refused"), "{body}");
        let (status, body) = ask(&world, "POST", "/polls/lunch/votes", r#"{"choice":""}"#);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(body.contains("`choice`: length is lower than 1"), "{body}");
        let (status, body) = ask(&world, "GET", &format!("/polls/{}", "x".repeat(1_025)), "");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains("invalid_room_id"), "{body}");
    }

    #[test]
    fn the_figures_of_a_poll_count_what_it_refused() {
        let world = World::new();
        let alice = world.room::<poll::Room>("lunch").connect(Upgrade::new(poll::Connection {}));
        for choice in ["soup", ""] {
            alice.send(&poll::Event::Vote { choice: choice.to_owned() });
        }
        let (status, body) = ask(&world, "GET", "/polls/lunch/stats", "");
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(r#""peers":1"#) && body.contains(r#""refused":{"invalid":1}"#), "{body}");
    }

    #[test]
    fn a_request_that_axum_refuses_reaches_no_room() {
        let world = World::new();
        assert_eq!(ask(&world, "GET", "/polls/lunch/votes", "").0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&world, "POST", "/polls/lunch/votes", r#"{"choice":1}"#).0, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(ask(&world, "GET", "/elsewhere", "").0, StatusCode::NOT_FOUND);
    }
}
