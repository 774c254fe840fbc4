use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn rename<'a>(_ctx: &Ctx, _names: Vec<(u32, Option<&'a str>)>) {}
}

fn main() {}
