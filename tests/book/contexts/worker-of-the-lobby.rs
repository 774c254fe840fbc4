// A Worker that has a client of the lobby.
use crate::rooms::lobby;
use lobby::{Broadcast, Connection, Event};
use room_runtime::prelude::*;
use worker::{Context, Request, Response, Result, console_error};

async fn respond(
    rooms: lobby::RoomClient,
    req: Request,
    user: PeerId,
    connection: Connection,
    event: Event,
    message: Broadcast,
) -> Result<Response> {
    // BLOCK
    Response::empty()
}
