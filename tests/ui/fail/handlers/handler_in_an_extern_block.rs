use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    unsafe extern "Rust" {
        safe fn on_event(ctx: &Ctx, event: Event);
    }
}

fn main() {}
