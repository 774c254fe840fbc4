// 3 errors: one for each attribute
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call(workers)]
    pub fn rename(_ctx: &Ctx) {}

    #[call(once)]
    pub fn again(_ctx: &Ctx) {}

    #[call = "worker"]
    pub fn more(_ctx: &Ctx) {}
}

fn main() {}
