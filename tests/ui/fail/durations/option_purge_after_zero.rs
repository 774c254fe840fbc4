use room_runtime::prelude::*;

#[room(purge_after = "0d")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
