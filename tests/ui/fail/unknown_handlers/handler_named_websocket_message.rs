use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub async fn websocket_message(_ctx: &Ctx, _peer: &Peer, _text: String) -> Result {
        Ok(())
    }
}

fn main() {}
