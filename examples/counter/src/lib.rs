//! The smallest useful room: a number that everyone sees and anyone can change.
#![forbid(unsafe_code)]

use room_runtime::prelude::*;
use worker::*;

/// A counter that all peers share.
#[room]
pub mod counter {
    #[derive(Default)]
    pub struct State {
        pub count: i64,
    }

    pub struct Connection {}

    pub enum Event {
        Add { amount: i64 },
    }

    pub enum Broadcast {
        Count { count: i64 },
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Count { count: ctx.state()?.count })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Add { amount } = event;
        let count = ctx.update(|state| {
            state.count += amount;
            state.count
        })?;
        ctx.broadcast(&Broadcast::Count { count })?;
        Ok(())
    }
}

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let rooms = counter::RoomClient::from_env(&env)?;
    Ok(rooms.room("main").upgrade(req, Upgrade::new(counter::Connection {})).await?)
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::TestRoom;

    use super::{counter::*, *};

    #[test]
    fn all_peers_see_the_count() {
        let room = TestRoom::<Room>::new("main");
        let join = || room.connect(Upgrade::new(Connection {}));
        let (alice, bob) = (join(), join());
        alice.send(&Event::Add { amount: 2 });
        bob.send(&Event::Add { amount: -5 });
        let counts = [0, 2, -3].map(|count| Broadcast::Count { count });
        assert_eq!(alice.received(), counts);
        assert_eq!(bob.received(), counts);
        room.hibernate();
        assert_eq!(join().receive(), Some(Broadcast::Count { count: -3 }));
    }

    #[test]
    fn the_readme_shows_this_file() {
        let source = include_str!("lib.rs");
        let shown = source.split_once("\n\n").and_then(|(_, code)| code.split_once("\n#[cfg(test)]"));
        let (code, _) = shown.expect("a heading, the code, the tests");
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("```rust\n{code}```")), "the README's code is not this one:\n{code}");
    }
}
