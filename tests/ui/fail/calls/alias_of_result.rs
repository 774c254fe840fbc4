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
    pub enum RenameError {
        Taken,
    }

    type Renamed<T> = ::core::result::Result<T, RenameError>;

    #[call]
    pub fn rename(_ctx: &Ctx) -> Renamed<u32> {
        Err(RenameError::Taken)
    }
}

fn main() {}
