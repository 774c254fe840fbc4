use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    #[serde(untagged)]
    pub struct Event {
        pub times: u8,
    }
}

fn main() {}
