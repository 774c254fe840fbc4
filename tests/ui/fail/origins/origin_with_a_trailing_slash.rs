use room_runtime::prelude::*;

#[room(allowed_origins("https://example.com", "https://example.org/"))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
