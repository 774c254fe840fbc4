use room_runtime::prelude::*;

#[room(rate_limit(burst = 10, per_second = 2))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn event_cost(_event: &Event) {}
}

fn main() {}
