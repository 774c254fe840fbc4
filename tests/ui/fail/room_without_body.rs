use room_runtime::prelude::*;

#[room]
mod chat;

fn main() {}
