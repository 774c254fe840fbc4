use room_runtime::prelude::*;

// BLOCK

// …
use room_runtime::prelude::*;

#[derive(Default)]
pub struct State {
    pub messages: Vec<String>,
}

pub struct Connection {}

pub enum Event {
    Say { text: String },
}

pub enum Broadcast {
    History { messages: Vec<String> },
}
