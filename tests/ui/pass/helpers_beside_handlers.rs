//! Functions that are none of the room's handlers, and do not look as if they were meant to be.

#![deny(warnings)]
#![allow(dead_code)]
#![allow(clippy::missing_const_for_fn)]

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

    #[test]
    fn on_events() {
        assert!(no_event());
    }
}

fn main() {}
