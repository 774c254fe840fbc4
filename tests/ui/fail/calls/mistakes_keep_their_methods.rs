// 6 errors, and none where the functions are called
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call(host)]
    pub fn close_all(_ctx: &Ctx) {}

    #[call]
    pub fn without_ctx(number: u32) -> u32 {
        number
    }

    #[call]
    pub fn ctx_by_value(_ctx: Ctx, number: u32) -> u32 {
        number
    }

    #[call]
    pub fn borrowed(_ctx: &Ctx, _name: &str) {}

    #[call]
    pub fn generic_argument(_ctx: &Ctx, _name: impl Into<String>) {}

    #[call]
    pub fn unnamed(_ctx: &Ctx, (_, _): (u8, u8)) {}
}

use chat::Calls as _;

pub async fn use_them(room: &RoomHandle<chat::Room>) {
    let _ = room.close_all().await;
    let _ = room.without_ctx(1).await;
    let _ = room.ctx_by_value(2).await;
    let _ = room.borrowed("x".to_owned()).await;
    let _ = room.generic_argument("x".to_owned()).await;
    let _ = room.unnamed((1, 2)).await;
}

fn main() {}
