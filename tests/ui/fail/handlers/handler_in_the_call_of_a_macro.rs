use room_runtime::prelude::*;

macro_rules! handlers {
    ($($item:item)*) => { $($item)* };
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    handlers! {
        pub fn on_event(_ctx: &Ctx, _event: Event) {}
    }
}

fn main() {}
