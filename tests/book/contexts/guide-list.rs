// The Worker and a test of the room of the chapter "From zero to a deployed room".
use list::{Broadcast, Calls as _, Connection};
use room_runtime::prelude::*;
use room_runtime::testing::TestRoom;
use worker::*;

#[room(reconnect_grace = "2m", replay = 500)]
pub mod list {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub last_id: u32,
    }

    pub struct Connection {}

    pub enum Event {
        Check { id: u32, done: bool },
    }

    pub enum Broadcast {
        Added { item: Item },
    }

    #[data]
    pub struct Item {
        pub id: u32,
        pub text: String,
    }

    #[call]
    pub fn add(ctx: &Ctx, text: String) -> Result<u32> {
        let id = ctx.update(|state| {
            state.last_id += 1;
            state.last_id
        })?;
        ctx.broadcast(&Broadcast::Added { item: Item { id, text } })?;
        Ok(id)
    }
}

// BLOCK
