use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use room_runtime::{Close, PeerId};

    pub fn on_leave(_ctx: &Ctx, _user: &PeerId, _close: Close) {}
}

fn main() {}
