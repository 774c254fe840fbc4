use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    pub enum Event {
        Do { field: Note<'static> },
    }

    #[data]
    pub struct Note<'a> {
        pub text: &'a str,
    }
}

fn main() {}
