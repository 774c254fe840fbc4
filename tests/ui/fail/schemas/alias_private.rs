use room_runtime::prelude::*;

#[data]
pub struct Words {}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Event {}
    type Connection = super::Words;
    pub struct Broadcast {}
}

fn main() {}
