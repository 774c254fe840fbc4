use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Go,
        #[serde(rename = "Go")]
        Walk,
    }
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
