use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {
        pub number: Number,
    }
    pub enum Event {
        Go,
    }
    pub struct Broadcast {}
    pub union Number {
        pub int: u32,
        pub float: f32,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
