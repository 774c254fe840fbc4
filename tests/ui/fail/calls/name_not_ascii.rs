use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn größe(_ctx: &Ctx) -> u32 {
        1
    }
}

fn main() {}
