use room_runtime::prelude::*;

#[room(reconnect_grace = "1.5s")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
