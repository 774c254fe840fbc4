// 3 errors: one for each qualifier
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub const unsafe extern "C" fn rename(_ctx: &Ctx) {}
}

fn main() {}
