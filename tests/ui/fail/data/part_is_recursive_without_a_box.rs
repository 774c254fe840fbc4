use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {
        pub root: Node,
    }
    pub struct Connection {}
    pub enum Event {
        Go,
    }
    pub struct Broadcast {}
    #[room_runtime::data]
    #[derive(Default)]
    pub struct Node {
        pub child: Option<Node>,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }
}

fn main() {}
