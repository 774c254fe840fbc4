//! The decisions of the Worker's HTTP interface, separate from the platform so that they can be tested natively.

use room_runtime::{Error, data};

use crate::{
    auction::{self, Lot},
    token::{Claims, Role},
};

/// The route of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /session`: checks the token; a page asks before it opens a WebSocket.
    Session,
    /// `POST /auctions`
    Create,
    /// `GET /auctions`
    List,
    /// `GET /auctions/:id`
    Auction(&'a str),
    /// `GET /auctions/:id/bids`
    Bids(&'a str),
    /// `GET /auctions/:id/ws`
    AuctionSocket(&'a str),
    /// `GET /lobby/ws`
    LobbySocket,
    WrongMethod,
    Nothing,
}

impl<'a> Route<'a> {
    pub fn of(method: &str, path: &'a str) -> Self {
        let mut parts = [""; 4];
        let mut count = 0;
        for part in path.trim_matches('/').split('/') {
            if count == parts.len() {
                return Route::Nothing;
            }
            parts[count] = part;
            count += 1;
        }
        let route = match &parts[..count] {
            ["auctions"] if method == "POST" => return Route::Create,
            ["auctions"] => Route::List,
            ["session"] => Route::Session,
            ["lobby", "ws"] => Route::LobbySocket,
            ["auctions", id] if !id.is_empty() => Route::Auction(id),
            ["auctions", id, "bids"] => Route::Bids(id),
            ["auctions", id, "ws"] => Route::AuctionSocket(id),
            _ => return Route::Nothing,
        };
        if method == "GET" { route } else { Route::WrongMethod }
    }

    /// The id of the auction in the route.
    pub fn auction(&self) -> Option<&'a str> {
        match self {
            Route::Auction(id) | Route::Bids(id) | Route::AuctionSocket(id) => Some(id),
            _ => None,
        }
    }
}

/// The body of `POST /auctions`.
#[data]
pub struct NewAuction {
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub start_price: u64,
    pub min_step: u64,
    pub duration_seconds: u64,
}

/// The response to it.
#[data]
pub struct Created {
    pub id: String,
}

/// The reason for an error response.
#[derive(Debug)]
pub enum ApiError {
    BadRequest(String),
    Unauthorized,
    Forbidden(&'static str),
    NotFound,
    MethodNotAllowed,
    /// The error from the room, or from the way to it.
    Room(Error),
    Worker(worker::Error),
}

impl ApiError {
    /// Status, code and text for the client; `None` if the runtime's error has its own.
    pub fn parts(&self) -> Option<(u16, &'static str, &str)> {
        Some(match self {
            ApiError::BadRequest(what) => (400, "bad_request", what),
            ApiError::Unauthorized => (401, "unauthorized", "sign in"),
            ApiError::Forbidden(why) => (403, "forbidden", why),
            ApiError::NotFound => (404, "not_found", "there is nothing here"),
            ApiError::MethodNotAllowed => (405, "method_not_allowed", "not with this method"),
            ApiError::Room(_) => return None,
            ApiError::Worker(_) => (500, "internal", "the auction house failed"),
        })
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError::Room(error)
    }
}

impl From<worker::Error> for ApiError {
    fn from(error: worker::Error) -> Self {
        ApiError::Worker(error)
    }
}

/// Opens an auction in a new room. `id` is the room's id and makes the call idempotent.
///
/// # Errors
/// Fails if the lot or its seller is invalid, and with the errors of reaching the room.
pub async fn create(
    auctions: &auction::RoomClient,
    claims: &Claims,
    new: NewAuction,
    id: String,
) -> Result<Created, ApiError> {
    if claims.role != Role::Seller {
        return Err(ApiError::Forbidden("only sellers open auctions"));
    }
    if new.title.trim().is_empty() || new.title.len() > 200 || new.description.len() > 10_000 {
        return Err(ApiError::BadRequest("a title has 1 to 200 bytes, a description up to 10,000".to_owned()));
    }
    if new.start_price == 0 || new.min_step == 0 || new.start_price > 1 << 50 || new.min_step > 1 << 50 {
        return Err(ApiError::BadRequest("a price and a step are more than 0 cents".to_owned()));
    }
    if !(30..=30 * 24 * 3600).contains(&new.duration_seconds) {
        return Err(ApiError::BadRequest("an auction lasts from 30 seconds to 30 days".to_owned()));
    }
    let lot = Lot {
        title: new.title,
        description: new.description,
        seller: claims.user.clone(),
        start_price: new.start_price,
        min_step: new.min_step,
    };
    let open = auction::Event::Open { lot, duration_ms: new.duration_seconds * 1000 };
    auctions.room(&id).send(&open).idempotency_key(format!("open {id}")).await?;
    Ok(Created { id })
}

/// The token of a request: `Authorization: Bearer …`, or `?token=`.
pub fn bearer(authorization: Option<&str>, query: Option<String>) -> Option<String> {
    authorization.and_then(|header| header.strip_prefix("Bearer ")).map(|token| token.trim().to_owned()).or(query)
}
