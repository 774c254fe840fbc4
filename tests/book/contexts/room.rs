// The handlers of a room whose schemas do not matter.
use room_runtime::prelude::*;

#[room]
pub mod any {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Pong,
    }

    // BLOCK
}
