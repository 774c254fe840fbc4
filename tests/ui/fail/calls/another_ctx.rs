// 2 errors: one for each function
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Context;

    #[call]
    pub fn rename(_ctx: &mut Ctx) {}

    #[call]
    pub fn other(_ctx: &Context) {}
}

fn main() {}
