use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[serde(tag = "op")]
    pub enum Event {
        Say(String),
    }
    pub struct Broadcast {}
}

fn main() {}
