//! The routes, with axum, because its requests also exist outside of Cloudflare: the tests call the router natively, with rooms
//! in memory. `worker::Router` is one dependency less, but its routes run on workerd only.

use axum::{
    Json, Router,
    body::Body,
    extract::{
        FromRequestParts, Path, Query, Request, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use room_runtime::{
    Error,
    prelude::{Bytes, CallError, ErrorKind, OnResume, Upgrade, data, http, serde_json},
};
use serde::Deserialize;
use uuid::Uuid;
use worker::HttpResponse;

use crate::{
    auction_room::auction::{self, Calls as _},
    lobby_room::lobby::{self, Calls as _},
    sale::{Lot, OpenError, User},
    session::{self, Key},
};

/// All that a route needs.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) auctions: auction::RoomClient,
    pub(crate) lobby: lobby::RoomClient,
    pub(crate) key: Key,
    /// The clock, which a test replaces.
    pub(crate) now_ms: fn() -> u64,
}

pub(crate) fn router(house: House) -> Router {
    Router::new()
        .route("/api/session", get(whoami).post(sign_in))
        .route("/api/auctions", get(list).post(create))
        .route("/api/auctions/{id}", get(info))
        .route("/api/auctions/{id}/bids", get(bids))
        .route("/ws/auctions/{id}", get(enter))
        .route("/ws/lobby", get(watch))
        .fallback(|| async { Failed::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Failed::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this route has another method")
        })
        .layer(middleware::from_fn(same_origin))
        .layer(middleware::map_response(uncached))
        .with_state(house)
}

/// Refuses the requests of other sites' pages, which the browser would send with the visitor's cookie.
///
/// The option `allowed_origins` of a room does this for a fixed list; this Worker accepts the address that it is served at.
async fn same_origin(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let own = uri.scheme_str().zip(uri.authority()).map(|(scheme, host)| format!("{scheme}://{host}"));
    match request.headers().get(header::ORIGIN) {
        Some(origin) if own.as_ref().is_none_or(|own| origin != own) => {
            Failed::new(StatusCode::FORBIDDEN, "origin", "a page of another site cannot do this").into_response()
        }
        _ => next.run(request).await,
    }
}

async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The signed-in user of a request.
struct Visitor(Option<User>);

impl FromRequestParts<House> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Self::Rejection> {
        let cookies = parts.headers.get_all(header::COOKIE);
        let cookies = cookies.into_iter().filter_map(|value| value.to_str().ok());
        Ok(Visitor(house.key.user_of(cookies, (house.now_ms)())))
    }
}

async fn whoami(Visitor(user): Visitor) -> Json<Option<User>> {
    Json(user)
}

#[derive(Deserialize)]
struct SignIn {
    name: String,
}

/// Gives the visitor an identity, or the old identity another name.
async fn sign_in(
    State(house): State<House>,
    Visitor(user): Visitor,
    uri: Uri,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Result<impl IntoResponse, Failed> {
    let Json(SignIn { name }) = body?;
    let name = session::tidy_name(&name).ok_or_else(|| {
        let message = format!("a name has 1 to {} characters, among them a letter or a digit", session::MAX_NAME);
        Failed::invalid("name", message)
    })?;
    let id = user.map_or_else(|| Uuid::new_v4().simple().to_string(), |user| user.id);
    let user = User { id, name };
    let token = house.key.sign(&user, (house.now_ms)()).map_err(|error| Error::new(ErrorKind::Platform, error))?;
    let cookie = session::cookie(&token, uri.scheme_str() == Some("https"));
    Ok(([(header::SET_COOKIE, cookie)], Json(user)))
}

#[data]
struct Created {
    id: String,
}

/// Opens an auction. Its id cannot be guessed, so nobody else opens it first.
async fn create(
    State(house): State<House>,
    Visitor(user): Visitor,
    body: Result<Json<Lot>, JsonRejection>,
) -> Result<impl IntoResponse, Failed> {
    let seller = user.ok_or_else(|| Failed::new(StatusCode::UNAUTHORIZED, "sign_in", "sign in first"))?;
    let Json(lot) = body?;
    let id = Uuid::new_v7(timestamp((house.now_ms)())).simple().to_string();
    // With the key, the call is repeated if the room restarts, and opens the auction once.
    house.auctions.room(&*id).open(lot, seller).idempotency_key(&*id).await?;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

fn timestamp(now_ms: u64) -> uuid::Timestamp {
    let nanoseconds = (now_ms % 1_000 * 1_000_000) as u32;
    uuid::Timestamp::from_unix_time(now_ms / 1_000, nanoseconds, 0, 0)
}

async fn list(State(house): State<House>) -> Result<Json<Vec<lobby::Listing>>, Failed> {
    Ok(Json(house.lobby.room(lobby::ID).list().await?))
}

async fn info(State(house): State<House>, Lots(id): Lots) -> Result<Json<auction::Info>, Failed> {
    Ok(Json(house.auctions.room(id).info().await?))
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
}

async fn bids(
    State(house): State<House>,
    Lots(id): Lots,
    before: Result<Query<Before>, QueryRejection>,
) -> Result<Json<Vec<auction::Bid>>, Failed> {
    let Query(Before { before }) = before?;
    Ok(Json(house.auctions.room(id).history(before).await?))
}

/// Opens a WebSocket to an auction. The identity comes from the cookie alone, so a page cannot choose another one.
async fn enter(
    State(house): State<House>,
    Lots(id): Lots,
    Visitor(user): Visitor,
    request: Request,
) -> Result<Response, Failed> {
    let upgrade = Upgrade::new(auction::Connection { user: user.clone() });
    let upgrade = match user {
        // A bidder who resumes gets the name of the present cookie.
        Some(user) => upgrade.id(user.id).tag(auction::BIDDER).on_resume(OnResume::ReplaceData),
        // A spectator has the random id that the room gives it.
        None => upgrade.tag(auction::SPECTATOR),
    };
    respond(house.auctions.room(id).upgrade(request.try_into()?, upgrade).await?)
}

async fn watch(State(house): State<House>, request: Request) -> Result<Response, Failed> {
    respond(house.lobby.room(lobby::ID).upgrade(request.try_into()?, Upgrade::new(lobby::Connection {})).await?)
}

/// The id of an auction in the path. Another text is answered without a call, so it creates no object.
struct Lots(String);

impl FromRequestParts<House> for Lots {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Failed> {
        let missing = || Failed::new(StatusCode::NOT_FOUND, "not_found", "there is no such auction");
        let Path(id) = Path::<String>::from_request_parts(parts, house).await.map_err(|_| missing())?;
        // Two ways to write an id must not be two rooms.
        let is_id = Uuid::try_parse(&id).is_ok_and(|uuid| uuid.simple().to_string() == id);
        if is_id { Ok(Lots(id)) } else { Err(missing()) }
    }
}

/// Converts a response of a room. It keeps its headers, and the WebSocket of a 101.
fn respond(response: worker::Response) -> Result<Response, Failed> {
    Ok(HttpResponse::try_from(response)?.map(Body::new))
}

/// An error as a response, `{"error": {"code": "…", "message": "…", "field": "…"}}`: the form of the rooms' own errors.
#[derive(Debug)]
struct Failed(Box<http::Response<Bytes>>);

impl Failed {
    fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Failed::with_body(status, &serde_json::json!({ "error": { "code": code, "message": message } }))
    }

    fn invalid(field: &str, message: String) -> Self {
        let body = serde_json::json!({ "error": { "code": "invalid", "message": message, "field": field } });
        Failed::with_body(StatusCode::UNPROCESSABLE_ENTITY, &body)
    }

    fn with_body(status: StatusCode, body: &serde_json::Value) -> Self {
        let mut response = http::Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Failed(Box::new(response))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.map(Body::from)
    }
}

impl From<QueryRejection> for Failed {
    fn from(rejection: QueryRejection) -> Self {
        Failed::new(rejection.status(), "bad_request", &rejection.body_text())
    }
}

impl From<JsonRejection> for Failed {
    fn from(rejection: JsonRejection) -> Self {
        Failed::new(rejection.status(), "bad_request", &rejection.body_text())
    }
}

impl From<CallError<OpenError>> for Failed {
    fn from(error: CallError<OpenError>) -> Self {
        match error {
            CallError::Returned(error) => match error.field() {
                Some(field) => Failed::invalid(field, error.to_string()),
                None => Failed::new(StatusCode::CONFLICT, "already_open", &error.to_string()),
            },
            CallError::Failed(error) => error.into(),
            _ => Error::new(ErrorKind::Platform, "the call failed").into(),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed(Box::new(error.into()))
    }
}

impl From<worker::Error> for Failed {
    fn from(error: worker::Error) -> Self {
        let other = |error: worker::Error| Error::new(ErrorKind::Platform, error.to_string());
        Error::try_from(error).unwrap_or_else(other).into()
    }
}

#[cfg(test)]
mod tests;
