use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    pub enum Event {
        Do { field: crate::chat::Letter },
    }

    pub struct Letter {
        pub text: String,
    }
}

fn main() {}
