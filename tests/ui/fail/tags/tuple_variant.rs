// 2 errors: one for each variant

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Say(String),
        Move(f64, f64),
        Stop,
    }
    pub struct Broadcast {}
}

fn main() {}
