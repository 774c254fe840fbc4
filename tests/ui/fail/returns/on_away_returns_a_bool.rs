use room_runtime::prelude::*;

#[room(reconnect_grace = "10s")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub async fn on_away(_ctx: &Ctx, _peer: &Peer) -> bool {
        true
    }
}

fn main() {}
