use room_runtime::room;

#[room]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.room::<Room>("main")?.send(&Broadcast {}).durably()?;
        Ok(())
    }

    pub fn on_undelivered(_ctx: &Ctx, _undelivered: &Undelivered) {}
}

fn main() {}
