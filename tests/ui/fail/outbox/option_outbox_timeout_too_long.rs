use room_runtime::room;

#[room(outbox_timeout = "31d")]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_undelivered(_ctx: &Ctx, _undelivered: &Undelivered) {}
}

fn main() {}
