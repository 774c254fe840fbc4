use room_runtime::prelude::*;

#[room]
pub mod documents {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Open { doc: u32 },
        Edit { doc: u32, text: String },
    }

    pub enum Broadcast {
        Edited { doc: u32, text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            // BLOCK
        }
        Ok(())
    }
}
