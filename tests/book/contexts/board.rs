use room_runtime::prelude::*;

// BLOCK

// …
#[derive(Default)]
pub struct State {}

pub struct Connection {}

pub enum Event {
    Cursor { x: f64, y: f64 },
    Draw { points: Vec<f64> },
    Export,
}

pub enum Broadcast {
    Drawn,
}
