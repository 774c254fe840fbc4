//! An item or import of the user replaces a generated alias, and the user's derives and tagging are kept.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc)]

use room_runtime::prelude::*;

#[room(binding = "CHAT_DO", class = "Lobby", tag = "kind")]
pub mod chat {
    pub use std::result::Result;

    pub type Ctx = room_runtime::RoomContext<Room>;

    /// A type that is unrelated to sockets.
    pub struct UpgradeRequest {
        pub level: u32,
    }

    #[derive(Clone, Default)]
    pub struct State {
        pub count: u32,
    }

    #[data(skip(PartialEq, Debug))]
    pub struct Connection {}

    impl std::fmt::Debug for Connection {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a connection")
        }
    }

    impl PartialEq for Connection {
        fn eq(&self, _other: &Self) -> bool {
            true
        }
    }

    #[serde(tag = "op", content = "args")]
    pub enum Event {
        Move(i32, i32),
    }

    #[cfg_attr(all(), derive(PartialEq, Eq, Hash))]
    pub enum Broadcast {
        Moved { x: i32 },
    }

    pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut room_runtime::UpgradeRequest<Room>) {
        let request = UpgradeRequest { level: 1 };
        upgrade.tags.push(request.level.to_string());
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result<(), room_runtime::Failure> {
        let Event::Move(x, _) = event;
        ctx.broadcast(&Broadcast::Moved { x })?;
        Ok(())
    }
}

fn main() {
    let _ = std::mem::size_of::<chat::Lobby>();
    let _: &str = <chat::Room as room_runtime::Room>::BINDING;
}
