use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[allow(non_snake_case)]
    pub fn webSocketClose(_ctx: &Ctx, _peer: &Peer, _code: u16, _reason: String) {}
}

fn main() {}
