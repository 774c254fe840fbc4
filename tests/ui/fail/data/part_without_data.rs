use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {
        pub pinned: Vec<Note>,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Note {
        pub text: String,
    }
}

fn main() {}
