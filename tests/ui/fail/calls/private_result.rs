use room_runtime::prelude::*;

#[room]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[data]
    struct Name(String);

    #[call]
    pub fn name(_ctx: &Ctx) -> Option<Name> {
        None
    }
}

fn main() {}
