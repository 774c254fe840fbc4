use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub const Event: u8 = 1;
    pub struct Broadcast {}
}

fn main() {}
