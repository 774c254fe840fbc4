use room_runtime::prelude::*;

#[room(max_unread_bytes = 99_999_999_999_999_999_999)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
