// A Worker that has a client of the chat.
use crate::rooms::chat;
use chat::RenameError;
use room_runtime::prelude::*;
use worker::{Context, Response, Result};

async fn respond(rooms: chat::RoomClient, ctx: Context) -> Result<Response> {
    // BLOCK
    Response::empty()
}
