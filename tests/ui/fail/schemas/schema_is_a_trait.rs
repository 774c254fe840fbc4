use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub trait Event {}
    pub struct Broadcast {}
}

fn main() {}
