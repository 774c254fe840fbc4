use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_connect(&mut self, _ctx: &Ctx, _peer: &Peer) {
        self.count += 1;
    }
}

fn main() {}
