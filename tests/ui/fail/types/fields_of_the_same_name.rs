use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {
        #[serde(rename = "name")]
        nick: String,
        #[serde(rename = "name")]
        full: String,
    }
    pub enum Event {
        Go,
    }
    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
