// 3 errors: serde may know more options, so it judges this one; and what its derives leave out is missed.
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Go {
            #[serde(lenient)]
            to: String,
        },
    }
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
