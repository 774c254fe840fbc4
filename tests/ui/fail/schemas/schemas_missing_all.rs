// 4 errors: each schema is one

use room_runtime::prelude::*;

#[room]
pub mod chat {
}

fn main() {}
