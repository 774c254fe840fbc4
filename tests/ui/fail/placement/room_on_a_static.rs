use room_runtime::prelude::*;

#[room]
pub static CHAT: u8 = 1;

fn main() {}
