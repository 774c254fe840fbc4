use room_runtime::prelude::*;

#[room(max_peers = 10)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn event_cost(_event: &Event) -> u32 {
        1
    }
}

fn main() {}
