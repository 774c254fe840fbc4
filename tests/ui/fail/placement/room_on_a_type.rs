use room_runtime::prelude::*;

#[room]
pub type Chat = u8;

fn main() {}
