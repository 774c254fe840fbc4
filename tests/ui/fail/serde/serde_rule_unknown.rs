use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    #[serde(rename_all = "camel_case")]
    pub enum Event {
        Go,
    }
}

fn main() {}
