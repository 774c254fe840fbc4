use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Draw { shape: Shape },
    }
    pub struct Broadcast {}

    #[room_runtime::data]
    pub struct Shape {
        pub corners: Vec<Corner>,
    }

    pub struct Corner {
        pub x: f64,
    }
}

fn main() {}
