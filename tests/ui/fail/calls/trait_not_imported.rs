use room_runtime::{RoomHandle, prelude::*};

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call]
    pub fn rename(_ctx: &Ctx, name: String) -> u64 {
        name.len() as u64
    }
}

async fn worker(room: RoomHandle<chat::Room>) {
    let _ = room.rename("x".into()).await;
}

fn main() {}
