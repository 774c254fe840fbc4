use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn on_rename(_ctx: &Ctx, _name: String) {}
}

fn main() {}
