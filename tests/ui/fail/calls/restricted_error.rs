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
    pub(crate) enum RenameError {
        Taken,
    }

    #[call]
    pub fn rename(_ctx: &Ctx) -> Result<(), RenameError> {
        Err(RenameError::Taken)
    }
}

fn main() {}
