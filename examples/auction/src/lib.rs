//! An auction house: the lobby at `/`, a room for each lot at `/auctions/:id`. The page consists of static assets, which the
//! platform serves.

#![forbid(unsafe_code)]

pub mod auction_room;
mod http_api;
pub mod lobby_room;
pub mod sale;
pub mod session;

use std::convert::Infallible;

use axum::response::Response;
use room_runtime::logs::{self, Level};
use tower_service::Service;
use worker::{Context, Date, Env, HttpRequest, event};

use crate::{auction_room::auction, http_api::House, lobby_room::lobby, session::Key};

#[event(start)]
fn start() {
    logs::init(Level::INFO);
}

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _ctx: Context) -> Result<Response, worker::Error> {
    let house = House {
        auctions: auction::RoomClient::from_env(&env)?,
        lobby: lobby::RoomClient::from_env(&env)?,
        key: Key::new(&env.secret("SESSION_KEY")?.to_string())?,
        now_ms: || Date::now().as_millis(),
    };
    let Ok(response) = http_api::router(house).call(request).await.map_err(|never: Infallible| match never {});
    Ok(response)
}
