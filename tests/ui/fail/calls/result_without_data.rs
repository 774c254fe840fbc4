use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Name(pub String);

    #[call]
    pub fn name(_ctx: &Ctx) -> Name {
        Name(String::new())
    }
}

fn main() {}
