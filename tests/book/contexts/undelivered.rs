use room_runtime::prelude::*;

#[room]
pub mod game {
    use crate::rooms::lobby;

    #[derive(Default)]
    pub struct State {
        pub unreported: Vec<u32>,
    }

    pub struct Connection {}

    pub enum Event {
        Win,
    }

    pub enum Broadcast {
        Won,
    }

    // BLOCK
}
