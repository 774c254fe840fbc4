// The options of a room.
use room_runtime::prelude::*;

// BLOCK
pub mod any {
    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Pong,
    }
}
