use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Name(pub String);

    #[call]
    pub fn rename(_ctx: &Ctx, _name: Name) {}
}

fn main() {}
