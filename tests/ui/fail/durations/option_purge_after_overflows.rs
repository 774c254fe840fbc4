use room_runtime::prelude::*;

#[room(purge_after = "99999999999999999999d")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
