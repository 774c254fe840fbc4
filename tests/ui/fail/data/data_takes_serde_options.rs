use room_runtime::prelude::*;

#[data(rename_all = "camelCase")]
pub struct Note {}

fn main() {}
