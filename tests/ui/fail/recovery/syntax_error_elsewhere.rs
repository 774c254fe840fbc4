use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    struct Helper {
        pub count u64,
    }

    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.broadcast(&Broadcast {})?;
        Ok(())
    }
}

fn main() {}
