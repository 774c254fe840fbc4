use room_runtime::room;

#[room]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[deny(unused_must_use)]
    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        ctx.room::<Room>("main")?.send(&event).durably();
        Ok(())
    }

    pub fn on_undelivered(_ctx: &Ctx, _undelivered: &Undelivered) {}
}

fn main() {}
