// A Worker that connects to the chat.
use crate::rooms::chat;
use room_client::Builder;
use room_runtime::prelude::*;
use worker::Context;

async fn run(rooms: chat::RoomClient, ctx: Context) -> Result<(), Box<dyn std::error::Error>> {
    // BLOCK
    Ok(())
}
