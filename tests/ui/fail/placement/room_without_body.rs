// 2 errors: the first is rustc's own, and does not say what to write

use room_runtime::prelude::*;

#[room]
mod chat;

fn main() {}
