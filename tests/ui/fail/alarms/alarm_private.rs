use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    struct Alarm {}

    pub fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}
}

fn main() {}
