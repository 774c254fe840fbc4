use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    #[serde(content = "of")]
    pub enum Event {
        Go(u8),
    }
}

fn main() {}
