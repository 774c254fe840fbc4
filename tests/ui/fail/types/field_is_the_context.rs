use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Connection {
        pub field: Ctx,
    }
}

fn main() {}
