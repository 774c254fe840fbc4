use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub union Event {
        pub a: u8,
        pub b: i8,
    }
    pub struct Broadcast {}
}

fn main() {}
