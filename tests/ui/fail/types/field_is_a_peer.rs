use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: Vec<Peer>,
    }
}

fn main() {}
