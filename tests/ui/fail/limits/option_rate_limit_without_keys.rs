use room_runtime::prelude::*;

#[room(rate_limit(10, 2))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
