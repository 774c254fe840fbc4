// 2 errors: the argument and the result
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn rename(_ctx: &Ctx, _name: impl Into<String>) -> impl Sized {}
}

fn main() {}
