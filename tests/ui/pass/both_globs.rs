//! The globs of the prelude and of `worker` together: no name is ambiguous.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc, clippy::wildcard_imports)]

use room_runtime::prelude::*;
use worker::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub notes: Vec<Note>,
    }
    pub struct Connection {}
    pub enum Event {
        Say { text: String },
    }
    pub enum Broadcast {
        Said { text: String },
    }

    #[data]
    pub struct Note {
        pub text: String,
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        let _: (&PeerId, &RoomId, u16) = (peer.id(), ctx.id(), close.code);
        let delivery: Delivery = ctx.broadcast(&Broadcast::Said { text: close.reason })?;
        peer.close(CloseCode::NORMAL, "")?;
        if delivery.sent > 1 { Err(Failure::msg("many")) } else { Ok(()) }
    }
}

pub async fn worker_side(req: Request, env: Env) -> Result<Response> {
    let room: RoomHandle<chat::Room> = chat::RoomClient::from_env(&env)?.room("r1");
    let _: Vec<PeerInfo<chat::Connection>> = room.peers(None).await?;
    match room.send(&chat::Event::Say { text: "hi".to_owned() }).await {
        Err(error) if error.kind() == ErrorKind::Overloaded => Response::error("later", 503),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(room.upgrade(req, Upgrade::new(chat::Connection {})).await?),
    }
}

fn main() {}
