//! Generated code is documented, contains no `unsafe` and causes no warnings.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, warnings)]
#![deny(clippy::all)]

use room_runtime::prelude::*;

/// A chat room.
#[room]
pub mod chat {
    /// State.
    #[derive(Default)]
    pub struct State {}
    /// Connection.
    pub struct Connection {}
    /// Event.
    pub enum Event {
        /// Go.
        Go,
    }
    /// Broadcast.
    pub enum Broadcast {
        /// Went.
        Went,
    }

    /// Handles an event.
    ///
    /// # Errors
    /// Returns the errors of the broadcast.
    pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.broadcast(&Broadcast::Went)?;
        Ok(())
    }
}

fn main() {}
