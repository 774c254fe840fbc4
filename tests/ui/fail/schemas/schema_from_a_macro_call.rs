use room_runtime::prelude::*;

macro_rules! define_messages {
    () => {
        pub enum Event {
            Go,
        }
        pub struct Broadcast {}
    };
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    define_messages!();

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
