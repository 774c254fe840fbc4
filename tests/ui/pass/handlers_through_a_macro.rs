//! A room that a macro writes, with handlers and schemas of its caller.

#![deny(warnings)]
#![allow(clippy::unnecessary_wraps, clippy::unused_async)]

use room_runtime::{prelude::*, testing::TestRoom};

macro_rules! room_with {
    ($name:ident { $($item:item)* }) => {
        #[room(state_version = 1, reconnect_grace = "10s")]
        pub mod $name {
            pub struct Connection {}

            $($item)*
        }
    };
}

room_with! {
    chat {
        #[derive(Default)]
        pub struct State {
            pub count: u32,
        }

        pub enum Event {
            Add { amount: u32 },
        }

        pub enum Broadcast {
            Count { count: u32 },
        }

        fn init(_ctx: &Ctx) -> Result<State> {
            Ok(State { count: 1 })
        }

        fn migrate(_version: u32, _state: serde_json::Value) -> State {
            State::default()
        }

        use super::serde_json;

        fn on_connect(_ctx: &Ctx, _peer: &Peer) {}

        async fn on_event(ctx: &Ctx, event: Event) -> Result {
            let Event::Add { amount } = event;
            let count = ctx.update(|state| {
                state.count += amount;
                state.count
            })?;
            ctx.broadcast(&Broadcast::Count { count })?;
            Ok(())
        }

        fn on_close(_ctx: &Ctx, _peer: &Peer, _close: super::Close) {}
    }
}

fn main() {
    let room = TestRoom::<chat::Room>::new("r");
    let alice = room.connect(Upgrade::new(chat::Connection {}));
    alice.send(&chat::Event::Add { amount: 2 });
    // The first frame is the resume token.
    assert!(alice.receive_raw().is_some_and(|token| token.contains("resume")));
    assert_eq!(alice.receive(), Some(chat::Broadcast::Count { count: 3 }));
}
