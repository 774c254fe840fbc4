// 2 errors: rustc's own, and what the macro makes of it

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {
        pub count u64,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.update(|state| state.count += 1)?;
        Ok(())
    }
}

fn main() {}
