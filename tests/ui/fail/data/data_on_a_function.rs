use room_runtime::prelude::*;

#[data]
pub fn note() {}

fn main() {}
