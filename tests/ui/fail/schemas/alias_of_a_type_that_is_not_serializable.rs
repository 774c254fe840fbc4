// 2 errors: rustc's own, one for each of serde's traits

use room_runtime::prelude::*;

pub struct Words {}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub type Event = super::Words;
    pub struct Broadcast {}
}

fn main() {}
