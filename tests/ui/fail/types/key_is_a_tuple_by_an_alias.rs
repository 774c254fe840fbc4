use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: std::collections::HashMap<Position, ()>,
    }

    pub type Position = (i32, i32);
}

fn main() {}
