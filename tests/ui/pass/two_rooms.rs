//! Rooms of one crate with different classes and bindings, even if the classes differ only in a capital letter.

#![deny(warnings)]

use room_runtime::prelude::*;

#[room(class = "AB")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

#[room(class = "Ab")]
pub mod lobby {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

pub mod v2 {
    use room_runtime::prelude::*;

    #[room(class = "ChatRoomV2", binding = "CHAT_V2")]
    pub mod chat {
        #[derive(Default)]
        pub struct State {}
        pub struct Connection {}
        pub struct Event {}
        pub struct Broadcast {}
    }
}

fn main() {}
