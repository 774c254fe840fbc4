use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    enum Broadcast {
        Said { text: String },
    }
}

pub fn broadcast() -> chat::Broadcast {
    chat::Broadcast::Said { text: "hello".to_owned() }
}

fn main() {}
