use room_runtime::prelude::*;

pub fn on_event(_ctx: &chat::Ctx, _event: chat::Event) {}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub use super::on_event;
}

fn main() {}
