//! Functions with a name similar to a handler's, each of which other code calls.

#![deny(warnings)]
#![allow(clippy::pedantic, clippy::nursery)] // The helpers are as short as possible.

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_connect(ctx: &Ctx, peer: &Peer) {
        connect(ctx, peer);
        [Event {}].into_iter().for_each(|one| event(ctx, one));
        let later: fn(&Ctx) = tick;
        later(ctx);
        super::close(ctx);
    }

    pub fn on_alarm(ctx: &Ctx) {
        Machine.on_event(&Event {});
        handlers::on_alarm(ctx);
        Machine.on_close(ctx);
    }

    pub fn connect(_ctx: &Ctx, _peer: &Peer) {}

    fn event(_ctx: &Ctx, _event: Event) {}

    fn tick(_ctx: &Ctx) {}

    // A function for the rest of the crate.
    pub(crate) fn start(_ctx: &Ctx) {}

    // A function with other parameters than the handler.
    pub fn alarm(_ctx: &Ctx, _round: u32) {}

    pub fn message(_ctx: &Ctx) -> String {
        String::new()
    }

    pub struct Machine;

    impl Machine {
        pub fn on_event(&mut self, _event: &Event) {}

        pub fn on_close(&self, _ctx: &Ctx) {}

        pub fn on_start(&self, _ctx: &Ctx) {}
    }

    pub trait Plugin {
        fn on_start(&self, ctx: &Ctx);
    }

    mod handlers {
        pub(super) fn on_alarm(_ctx: &super::Ctx) {}
    }

    #[cfg(test)]
    mod tests {
        fn on_event(_ctx: &super::Ctx, _event: super::Event) {}
    }
}

fn close(ctx: &chat::Ctx) {
    chat::start(ctx);
}

fn main() {}
