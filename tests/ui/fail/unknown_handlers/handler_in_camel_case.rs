use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[allow(non_snake_case)]
    pub fn onEvent(_ctx: &Ctx, _event: Event) {}
}

fn main() {}
