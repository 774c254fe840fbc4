// 2 errors: one for each argument
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn rename(_ctx: &Ctx, _name: &str, _tags: &[String]) {}
}

fn main() {}
