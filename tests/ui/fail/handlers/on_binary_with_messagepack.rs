use room_runtime::prelude::*;

#[room(codec = "json, msgpack")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_binary(_ctx: &Ctx, _bytes: room_runtime::Bytes) {}
}

fn main() {}
