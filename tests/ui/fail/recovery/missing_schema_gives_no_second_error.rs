use room_runtime::prelude::*;
use worker::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Say { text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        ctx.broadcast(&Broadcast::Said { text: shorten(&text) })?;
        Ok(())
    }

    pub fn shorten(text: &str) -> String {
        text.chars().take(10).collect()
    }

    pub fn welcome(peer: &Peer) -> Broadcast {
        Broadcast::Said { text: peer.id().to_string() }
    }
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _ctx: Context) -> Result<Response> {
    let room = chat::RoomClient::from_env(&env)?.room("lobby");
    room.send(&chat::Event::Say { text: chat::shorten(&request.path()) }).await?;
    Ok(room.upgrade(request, Upgrade::new(chat::Connection {})).await?)
}

fn main() {}
