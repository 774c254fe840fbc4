use room_runtime::room;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[data]
    pub struct Place {
        pub at: u32,
    }

    #[data]
    pub enum RenameError {
        TooLong,
    }

    #[call]
    pub fn rename(_ctx: &Ctx, _name: String) -> Result<Place, OrFailure<RenameError>> {
        Ok(Place { at: 1 })
    }
}

fn main() {}
