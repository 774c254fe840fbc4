// 4 errors: serde's own derives, one for each use of the field

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {
        pub at: std::cmp::Ordering,
    }
    pub struct Broadcast {}
}

fn main() {}
