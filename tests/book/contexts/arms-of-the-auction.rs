use room_runtime::prelude::*;

#[room]
pub mod auction {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Open { lot: String },
    }

    pub enum Broadcast {
        Opened,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            // BLOCK
        }
        Ok(())
    }
}
