use room_runtime::prelude::*;

#[room(validate(Event))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[derive(garde::Validate)]
    pub enum Event {
        Say {
            #[garde(length(min = 1, max = 200))]
            text: String,
        },
    }
    pub struct Broadcast {}
}

fn main() {}
