// 2 errors: the value, and the result
use room_runtime::prelude::*;

pub struct Name(pub String);

#[room]
pub mod chat {
    use super::Name;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn name(_ctx: &Ctx) -> Name {
        Name(String::new())
    }

    #[call]
    pub fn other(_ctx: &Ctx) -> Result<Name> {
        Ok(Name(String::new()))
    }
}

fn main() {}
