use room_runtime::prelude::*;

#[room]
pub trait Chat {}

fn main() {}
