use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn rename(_ctx: &Ctx, _name: std::borrow::Cow<'_, str>) {}
}

fn main() {}
