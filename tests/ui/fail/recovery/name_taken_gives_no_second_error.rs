use room_runtime::prelude::*;

pub struct Room {}

#[room(class = "Lobby")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub use super::Room;

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx.id(), event);
        Ok(())
    }
}

fn main() {}
