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
        Joined { user_id: PeerId },
        Left { user_id: PeerId },
    }

    // BLOCK
}
