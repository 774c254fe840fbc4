use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct State {
        pub count: u32,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
