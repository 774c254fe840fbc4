use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}
}

/// A use of the room elsewhere gives no error of its own.
pub fn elsewhere(_: &chat::Ctx, _: &chat::RoomClient) -> chat::Result {
    Ok(())
}

fn main() {}
