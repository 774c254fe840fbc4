use room_runtime::prelude::*;

#[room]
pub enum Chat {}

fn main() {}
