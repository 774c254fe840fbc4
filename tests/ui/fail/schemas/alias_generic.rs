use room_runtime::prelude::*;

#[data]
pub struct Words<T> {
    pub word: T,
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub type Event<W> = super::Words<W>;
    pub struct Broadcast {}
}

fn main() {}
