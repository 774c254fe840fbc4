//! An auction house on Cloudflare Workers: a room for each auction, and a lobby that lists them.

pub mod api;
mod auction_room;
mod lobby_room;
pub mod token;

pub use auction_room::auction;
pub use lobby_room::lobby;

use api::{ApiError, Route};
use room_runtime::prelude::*;
use token::{Claims, Signer};
use worker::*;

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    match handle(req, &env).await {
        Ok(response) => Ok(response),
        Err(ApiError::Room(error)) => {
            console_error!("{error}");
            error.into_response()
        }
        Err(error) => {
            if let ApiError::Worker(error) = &error {
                console_error!("{error}");
            }
            let (status, code, message) = error.parts().unwrap_or((500, "internal", "the auction house failed"));
            let body = serde_json::json!({ "error": { "code": code, "message": message } });
            Ok(Response::from_json(&body)?.with_status(status))
        }
    }
}

async fn handle(mut req: Request, env: &Env) -> std::result::Result<Response, ApiError> {
    let path = req.path();
    let route = Route::of(req.method().as_ref(), &path);
    if route.auction().is_some_and(|id| uuid::Uuid::try_parse(id).is_err()) {
        return Err(ApiError::NotFound); // the request does not create an object
    }
    match route {
        Route::Session => Ok(Response::from_json(&claims(&req, env)?)?),
        Route::Create => {
            let claims = claims(&req, env)?;
            let new = req.json().await.map_err(|error| ApiError::BadRequest(error.to_string()))?;
            let auctions = auction::RoomClient::from_env(env)?;
            let created = api::create(&auctions, &claims, new, uuid::Uuid::now_v7().to_string()).await?;
            Ok(Response::from_json(&created)?.with_status(201))
        }
        Route::List => Ok(lobby::RoomClient::from_env(env)?.room(lobby::THE_ONE).request(req).await?),
        Route::Auction(id) | Route::Bids(id) => Ok(auction::RoomClient::from_env(env)?.room(id).request(req).await?),
        Route::AuctionSocket(id) => {
            let mut upgrade = Upgrade::new(auction::Connection::unknown());
            if let Some(token) = query(&req, "resume")? {
                upgrade = upgrade.resume(token);
            }
            Ok(auction::RoomClient::from_env(env)?.room(id).upgrade(req, upgrade).await?)
        }
        Route::LobbySocket => {
            let upgrade = Upgrade::new(lobby::Connection {});
            Ok(lobby::RoomClient::from_env(env)?.room(lobby::THE_ONE).upgrade(req, upgrade).await?)
        }
        Route::WrongMethod => Err(ApiError::MethodNotAllowed),
        Route::Nothing => Err(ApiError::NotFound),
    }
}

fn query(req: &Request, name: &str) -> Result<Option<String>> {
    Ok(req.url()?.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()))
}

fn claims(req: &Request, env: &Env) -> std::result::Result<Claims, ApiError> {
    let signer =
        Signer::new(&env.secret("AUCTION_SECRET")?.to_string()).map_err(|text| Error::from(text.to_owned()))?;
    let token = api::bearer(req.headers().get("authorization")?.as_deref(), query(req, "token")?);
    token.and_then(|token| signer.check(&token, Date::now().as_millis())).ok_or(ApiError::Unauthorized)
}
