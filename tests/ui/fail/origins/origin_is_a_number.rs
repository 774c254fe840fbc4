use room_runtime::prelude::*;

#[room(allowed_origins("https://example.com", 443))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
