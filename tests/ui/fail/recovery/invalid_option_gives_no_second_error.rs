use room_runtime::prelude::*;
use worker::*;

#[room(tagg = "kind")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Say { text: String },
    }
    pub enum Broadcast {
        Said { text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        ctx.broadcast(&Broadcast::Said { text })?;
        Ok(())
    }

    pub fn on_close(_ctx: &Ctx, _peer: &Peer, _close: room_runtime::Close) {}
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _ctx: Context) -> Result<Response> {
    let room = chat::RoomClient::from_env(&env)?.room("lobby");
    room.send(&chat::Event::Say { text: request.path() }).await?;
    let state: Option<chat::State> = room.state().await?;
    if state.is_none() {
        room.broadcast(&chat::Broadcast::Said { text: "empty".to_owned() }).await?;
    }
    Ok(room.upgrade(request, Upgrade::new(chat::Connection {})).await?)
}

pub fn name() -> &'static str {
    <chat::Room as room_runtime::Room>::NAME
}

pub fn in_a_test() {
    let room = room_runtime::testing::TestRoom::<chat::Room>::new("lobby");
    let peer = room.connect(Upgrade::new(chat::Connection {}));
    peer.send(&chat::Event::Say { text: "hello".to_owned() });
    assert_eq!(peer.received(), [chat::Broadcast::Said { text: "hello".to_owned() }]);
}

fn main() {}
