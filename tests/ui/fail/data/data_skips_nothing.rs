use room_runtime::prelude::*;

#[data(skip)]
pub struct Note {}

fn main() {}
