use room_runtime::prelude::*;

#[room(validate(event))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[derive(garde::Validate)]
    pub enum Event {
        Say {
            #[garde(length(max = 9))]
            text: &'static Vec<char>,
        },
    }
    pub struct Broadcast {}
}

fn main() {}
