//! The lints of Clippy that forbid ordinary Rust do not warn about generated code. The allowed ones concern the code
//! that a user writes.

#![deny(warnings)]
#![deny(clippy::restriction)]
#![allow(clippy::blanket_clippy_restriction_lints, reason = "all of them are meant")]
#![allow(
    clippy::absolute_paths,
    clippy::implicit_return,
    clippy::missing_docs_in_private_items,
    clippy::question_mark_used,
    clippy::single_call_fn,
    clippy::std_instead_of_core,
    reason = "the user's code"
)]

use room_runtime::prelude::*;

/// A chat room.
#[room(state_version = 1, reconnect_grace = "10s")]
pub mod chat {
    /// State.
    #[non_exhaustive]
    #[derive(Default)]
    pub struct State {
        /// Number.
        pub count: i64,
    }
    /// Connection.
    #[non_exhaustive]
    #[derive(Default)]
    pub struct Connection {
        /// Name.
        pub name: String,
    }
    /// Event.
    #[non_exhaustive]
    pub enum Event {
        /// Go.
        Go {
            /// The destination.
            to: String,
        },
    }
    /// Broadcast.
    #[non_exhaustive]
    pub enum Broadcast {
        /// Went.
        Went,
    }
    /// Alarm.
    #[non_exhaustive]
    pub enum Alarm {
        /// Ring.
        Ring,
    }
    /// Services.
    #[non_exhaustive]
    pub struct Services;

    fn services(_env: &worker::Env) -> Services {
        Services
    }

    fn init(_ctx: &Ctx) -> State {
        State::default()
    }

    fn migrate(_version: u32, _state: room_runtime::serde_json::Value) -> State {
        State::default()
    }

    fn on_upgrade(_ctx: &Ctx, _upgrade: &mut UpgradeRequest) {}

    fn on_event(ctx: &Ctx, _event: Event) -> Result {
        ctx.broadcast(&Broadcast::Went)?;
        Ok(())
    }

    async fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {
        std::future::ready(()).await;
    }
}

fn main() {}
