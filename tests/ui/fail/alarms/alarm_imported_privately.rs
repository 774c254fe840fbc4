use room_runtime::prelude::*;

#[data]
pub struct Alarm {}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use super::Alarm;

    pub fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}
}

fn main() {}
