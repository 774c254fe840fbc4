//! The chat room of the documentation, as a user writes it: with both globs, and without a warning.

#![deny(warnings)]

use room_runtime::prelude::*;
use worker::*;

/// A chat room.
#[room] // binding "CHAT", Durable Object class "ChatRoom"
pub mod chat {
    use super::*;

    /// The stored state of the room.
    #[derive(Default)]
    pub struct State {
        pub message_count: u64,
        pub pinned: Vec<Note>,
    }

    /// The stored data of one peer; the socket's attachment keeps it during hibernation.
    pub struct Connection {
        pub user_id: String,
    }

    /// The messages that peers and the Worker may send.
    pub enum Event {
        Say { text: String },
        Typing,
    }

    /// The messages that the room sends to its peers.
    pub enum Broadcast {
        Message { user_id: String, text: String, sent_at: u64 },
        Joined { user_id: String },
        Left { user_id: String },
        Typing { user_id: String },
    }

    /// Any other type that is sent or stored.
    #[data]
    pub struct Note {
        pub text: String,
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.peers().except(peer).send(&Broadcast::Joined { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        let user_id = ctx.sender().map_or("system".into(), |peer| peer.data().user_id.clone());
        match event {
            Event::Say { text } => {
                ctx.update(|state| state.message_count += 1)?;
                ctx.broadcast(&Broadcast::Message { user_id, text, sent_at: ctx.now_ms() })?;
            }
            Event::Typing => {
                ctx.peers().except_sender().send(&Broadcast::Typing { user_id })?;
            }
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _close: Close) -> Result {
        ctx.broadcast(&Broadcast::Left { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }
}

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let rooms = chat::RoomClient::from_env(&env)?;
    let user_id = req.headers().get("x-user")?.unwrap_or_default();
    if req.path() == "/say" {
        // A call works from any code of the Worker:
        rooms.room("r1").send(&chat::Event::Say { text: user_id }).await?;
        return Response::empty();
    }
    Ok(rooms.room("r1").upgrade(req, Upgrade::new(chat::Connection { user_id }).id("alice").tag("admin")).await?)
}
