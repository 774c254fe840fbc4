use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use super::Close;

    impl State {
        pub fn on_connect(&mut self, _ctx: &Ctx, _peer: &Peer) {}

        pub fn on_close(&mut self, _ctx: &Ctx, _peer: &Peer, _close: Close) {}
    }
}

fn main() {}
