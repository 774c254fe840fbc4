use room_runtime::prelude::*;

#[room]
pub mod chat {
}

fn main() {}
