use room_runtime::prelude::*;

#[room(reconnect_grace = "61m")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_resume(_ctx: &Ctx, _peer: &Peer) {}
}

fn main() {}
