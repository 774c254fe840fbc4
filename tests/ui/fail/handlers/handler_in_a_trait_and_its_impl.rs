use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub trait Handlers {
        fn on_connect(ctx: &Ctx, peer: &Peer);
    }

    impl Handlers for Room {
        fn on_connect(_ctx: &Ctx, _peer: &Peer) {}
    }
}

fn main() {}
