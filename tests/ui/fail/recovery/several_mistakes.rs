// 4 errors: of different kinds, in one run

use room_runtime::prelude::*;

#[room(tagg = "kind")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}

    pub fn on_event(_ctx: &Ctx) {}

    pub fn on_clsoe(_ctx: &Ctx, _peer: &Peer) {}
}

fn main() {}
