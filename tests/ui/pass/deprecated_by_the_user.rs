//! A user's `#[deprecated]` warns about the user's code, not about the expansion.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc, clippy::missing_panics_doc)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {
        #[deprecated]
        pub old: u32,
        pub new: u32,
    }
    pub struct Connection {}
    pub enum Event {
        #[deprecated = "say it"]
        Shout {
            text: String,
        },
        Say {
            text: String,
        },
    }
    pub struct Broadcast {}

    #[deprecated]
    pub fn on_start(_ctx: &Ctx) {}

    #[must_use = "it may have failed"]
    pub fn on_event(_ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { text } => assert!(!text.is_empty()),
            #[allow(deprecated)]
            Event::Shout { .. } => {}
        }
        Ok(())
    }
}

fn main() {}
