use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[serde(tag = "op")]
    pub enum Event {
        Move(f64, f64),
    }
    pub struct Broadcast {}
}

fn main() {}
