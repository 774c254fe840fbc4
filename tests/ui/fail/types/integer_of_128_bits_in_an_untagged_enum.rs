use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    pub enum Event {
        Do { field: Either },
    }

    #[data]
    #[serde(untagged)]
    pub enum Either {
        Number(u128),
        Text(String),
    }
}

fn main() {}
