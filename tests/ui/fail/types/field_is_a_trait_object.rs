use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    pub enum Event {
        Do { field: Box<dyn Fn()> },
    }
}

fn main() {}
