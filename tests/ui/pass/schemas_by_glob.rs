//! Schemas may come from a public glob.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc)]

use room_runtime::prelude::*;

pub mod types {
    use room_runtime::data;

    #[data]
    #[derive(Default)]
    pub struct State {
        pub count: u64,
    }
    #[data]
    pub struct Connection {}
    #[data]
    pub struct Event {}
    #[data]
    pub struct Broadcast {}
}

#[room]
pub mod chat {
    pub use super::types::*;

    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.update(|state| state.count += 1)?;
        ctx.broadcast(&Broadcast {})?;
        Ok(())
    }
}

fn main() {}
