use room_runtime::prelude::*;

// BLOCK

// …
#[derive(Default)]
pub struct State {}

pub struct Connection {}

pub enum Broadcast {
    Ordered,
}
