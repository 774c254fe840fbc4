use room_runtime::prelude::*;

pub struct Chat;

#[room]
impl Chat {}

fn main() {}
