use crate::rooms::lobby;
use worker::{Method, Response, Result};

async fn respond(rooms: lobby::RoomClient, method: Method, path: &str) -> Result<Response> {
    match (method, path) {
        // BLOCK
        _ => Response::error("nothing is here", 404),
    }
}
