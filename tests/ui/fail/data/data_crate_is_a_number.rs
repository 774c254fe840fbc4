use room_runtime::prelude::*;

#[data(crate = 1)]
pub struct Note {}

fn main() {}
