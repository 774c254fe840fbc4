use room_runtime::prelude::*;

pub mod types {
    #[room_runtime::data]
    pub struct Event {}
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub use super::types::*;
}

fn main() {}
