use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: Option<std::collections::BTreeMap<[u8; 2], u8>>,
    }
}

fn main() {}
