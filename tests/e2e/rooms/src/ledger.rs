//! A room that remembers everything that it sent, so that a client can compare it with what arrived.

use room_runtime::prelude::*;

/// A room whose clients get what they have missed.
#[room(reconnect_grace = "10m", replay(messages = 20000), session_timeout = "1h")]
pub mod ledger {
    #[derive(Default)]
    pub struct State {
        /// Every entry, in the order in which it was sent.
        pub entries: Vec<String>,
    }

    pub struct Connection {}

    pub enum Event {
        Add { entry: String },
    }

    pub enum Broadcast {
        Added { index: usize, entry: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Add { entry } = event;
        append(ctx, entry)?;
        Ok(())
    }

    /// Adds an entry, and returns its index.
    #[call]
    pub fn add(ctx: &Ctx, entry: String) -> Result<usize> {
        append(ctx, entry)
    }

    /// Every entry.
    #[call]
    pub fn entries(ctx: &Ctx) -> Result<Vec<String>> {
        Ok(ctx.state()?.entries.clone())
    }

    fn append(ctx: &Ctx, entry: String) -> Result<usize> {
        let index = ctx.update(|state| {
            state.entries.push(entry.clone());
            state.entries.len() - 1
        })?;
        ctx.broadcast(&Broadcast::Added { index, entry })?;
        Ok(index)
    }
}
