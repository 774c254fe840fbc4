use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: std::collections::HashMap<Color, u8>,
    }

    #[data]
    pub enum Color {
        Red,
    }
}

fn main() {}
