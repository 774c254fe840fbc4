use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Go {
            #[serde(default)]
            to: Place,
        },
    }
    pub struct Broadcast {}
    #[data]
    pub enum Place {
        Start,
        End,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
