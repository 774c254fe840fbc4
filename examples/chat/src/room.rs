//! The room.

use room_runtime::prelude::*;

/// The user id of what the Worker itself says.
pub const OPERATOR: &str = "system";

/// A chat room.
#[room]
pub mod chat {
    use super::*;

    /// What the room remembers.
    #[derive(Default)]
    pub struct State {
        pub message_count: u64,
        pub pinned: Vec<Note>,
    }

    /// What the room remembers about one peer.
    pub struct Connection {
        pub user_id: String,
    }

    /// What peers, and the Worker, may say.
    pub enum Event {
        Say { text: String },
        Typing,
    }

    /// What the room says to its peers.
    pub enum Broadcast {
        Message { user_id: String, text: String, sent_at: u64 },
        Joined { user_id: String },
        Left { user_id: String },
        Typing { user_id: String },
    }

    #[data]
    pub struct Note {
        pub text: String,
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.peers().except(peer).send(&Broadcast::Joined { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let user_id = ctx.sender().map_or(OPERATOR.into(), |peer| peer.data().user_id.clone());
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
