use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[cfg(all())]
    pub struct Event {}
    #[cfg(not(any()))]
    pub enum Event {}
    pub struct Broadcast {}
}

fn main() {}
