// 4 errors: rustc's own three, and one once more in the expansion

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.broadcast(&Broadcast {})?;
        Ok(())
    }

    pub fn on_cl
}

fn main() {}
