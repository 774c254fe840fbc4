use room_runtime::prelude::*;

#[data(skip = "Clone")]
pub struct Note {}

fn main() {}
