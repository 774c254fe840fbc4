//! A `cfg` inside a `cfg_attr` is carried as well, and a schema may have a handler for each case.

#![deny(warnings)]
#![allow(clippy::assertions_on_constants)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[cfg(any())]
    pub enum Alarm {
        Ring,
    }

    #[cfg(any())]
    pub fn on_alarm(_: &Ctx, _: Alarm) {}

    #[cfg(not(any()))]
    pub fn on_alarm(_: &Ctx) {}

    #[cfg_attr(all(), cfg(any()))]
    pub fn on_event(_: &Ctx, _: Event) {}

    #[cfg_attr(all(), cfg(all()))]
    pub fn on_start(_: &Ctx) {}
}

fn main() {
    assert!(<chat::Room as room_runtime::Room>::HAS_ON_ALARM);
}
