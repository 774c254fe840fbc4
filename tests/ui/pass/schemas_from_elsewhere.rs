//! A schema may be re-exported or an alias, as long as it is serializable.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc)]

use room_runtime::prelude::*;

pub mod types {
    use room_runtime::prelude::*;

    #[data]
    #[derive(Default)]
    pub struct Game {
        pub round: u32,
    }

    #[data]
    pub enum Move {
        Place { x: u8, y: u8 },
    }
}

#[room]
pub mod game {
    pub use super::types::Game as State;

    pub type Connection = ();
    pub type Event = super::types::Move;
    pub use super::types::Move as Broadcast;

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        ctx.update(|state| state.round += 1)?;
        ctx.broadcast(&event)?;
        Ok(())
    }
}

fn main() {}
