use room_runtime::prelude::*;

#[room]
pub const CHAT: u8 = 1;

fn main() {}
