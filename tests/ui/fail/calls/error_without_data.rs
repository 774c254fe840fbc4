use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub enum RenameError {
        Taken,
    }

    #[call]
    pub fn rename(_ctx: &Ctx) -> Result<u32, RenameError> {
        Err(RenameError::Taken)
    }
}

fn main() {}
