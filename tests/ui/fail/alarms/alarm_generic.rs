use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Alarm<T> {
        pub value: T,
    }

    pub fn on_alarm(_ctx: &Ctx, _alarm: Alarm<u32>) {}
}

fn main() {}
