use room_runtime::prelude::*;

#[room(validate(event))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Say { text: String },
    }
    pub struct Broadcast {}
}

fn main() {}
