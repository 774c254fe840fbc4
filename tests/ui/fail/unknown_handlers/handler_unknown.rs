use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_state_update(_ctx: &Ctx, _state: &State) {}
}

fn main() {}
