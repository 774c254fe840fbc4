use room_runtime::prelude::*;

#[room(heartbeat)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

pub use chat::ChatRoom;

fn main() {}
