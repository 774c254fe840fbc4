use room_runtime::prelude::*;

#[room]
pub fn chat() {}

fn main() {}
