use room_runtime::prelude::*;

#[room(class = "CafeRoom")]
pub mod café {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
