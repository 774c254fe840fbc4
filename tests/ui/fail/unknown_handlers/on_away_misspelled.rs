use room_runtime::prelude::*;

#[room(reconnect_grace = "10s")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_awya(_ctx: &Ctx, _peer: &Peer) {}
}

fn main() {}
