use room_runtime::prelude::*;

#[room(reconnect_grace = "10s")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use room_runtime::PeerId;

    pub fn on_away(_ctx: &Ctx, _peer: &PeerId) {}
}

fn main() {}
