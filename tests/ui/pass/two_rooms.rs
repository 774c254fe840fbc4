//! Rooms of one crate, told apart by class and binding; of classes that differ in a capital only as well.

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
