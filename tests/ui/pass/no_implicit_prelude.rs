//! The expansion names everything by its absolute path.

#![no_implicit_prelude]
#![deny(warnings)]

#[::room_runtime::room]
pub mod chat {
    #[derive(::std::default::Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Go {},
    }
    pub struct Broadcast {}

    pub async fn on_start(_ctx: &Ctx) {}

    pub fn on_connect(_ctx: &Ctx, _peer: &Peer) -> Result {
        ::std::result::Result::Ok(())
    }

    pub async fn on_event(_ctx: &Ctx, _event: Event) -> Result {
        ::std::result::Result::Ok(())
    }

    pub fn on_close(_ctx: &Ctx, _peer: &Peer, _close: ::room_runtime::Close) {}

    pub fn on_alarm(_ctx: &Ctx) {}
}

fn main() {}
