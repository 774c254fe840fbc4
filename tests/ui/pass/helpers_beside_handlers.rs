//! Functions that are not handlers of the room, and do not look as if they were meant to be.

#![deny(warnings)]
#![allow(dead_code)]
#![allow(
    clippy::missing_const_for_fn,
    clippy::must_use_candidate,
    clippy::needless_pass_by_ref_mut,
    clippy::unused_self
)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    fn no_event() -> bool {
        true
    }

    fn is_close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.1
    }

    fn to_event(text: &str) -> Option<Event> {
        text.is_empty().then_some(Event {})
    }

    fn one_event() -> Event {
        Event {}
    }

    fn go_start(steps: u32) -> u32 {
        steps
    }

    fn on_the_hour(minute: u32) -> bool {
        minute == 0
    }

    fn unit() -> u8 {
        1
    }

    fn service() -> String {
        String::new()
    }

    // Names of handlers in other systems, on functions that a handler calls or that take other parameters.
    fn on_start(ctx: &Ctx) -> Result {
        start(ctx)?;
        close(ctx)
    }

    fn start(ctx: &Ctx) -> Result {
        ctx.broadcast(&Broadcast {})?;
        Ok(())
    }

    fn close(ctx: &Ctx) -> Result {
        ctx.purge()
    }

    pub fn connect(ctx: &Ctx, lobby: bool) -> bool {
        ctx.peers().is_empty() && lobby
    }

    pub fn fetch(url: &str) -> usize {
        url.len()
    }

    // A state machine of the user, which has its own names.
    pub struct Game;

    impl Game {
        pub fn on_event(&mut self, _event: Event) {}

        fn on_connect(&mut self, ctx: &Ctx, peer: &Peer) -> Result {
            ctx.broadcast(&Broadcast {})?;
            peer.send(&Broadcast {})?;
            Ok(())
        }
    }

    fn on_close(ctx: &Ctx, peer: &Peer, _close: super::Close) -> Result {
        Game.on_connect(ctx, peer)
    }

    // The import is missing, which only matters if the `cfg` is on.
    #[cfg(any())]
    fn on_error(_ctx: &Ctx, _error: &HandlerError) {}

    mod parts {
        pub(super) fn on_event() {}
    }

    #[test]
    fn on_events() {
        assert!(no_event());
    }
}

fn main() {}
