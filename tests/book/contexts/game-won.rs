// The handler of a move that wins the game.
use room_runtime::prelude::*;

#[room]
pub mod game {
    use crate::rooms::lobby;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub winner: Option<u32>,
    }

    pub struct Connection {}

    pub enum Event {
        Win { winner: u32 },
    }

    pub enum Broadcast {
        Won,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Win { winner } = event;
        // BLOCK
        Ok(())
    }

    pub fn on_undelivered(_ctx: &Ctx, _undelivered: &Undelivered) {}
}
