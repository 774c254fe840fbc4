use room_runtime::prelude::*;

#[room]
pub struct Chat {
    pub name: String,
}

fn main() {}
