use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: std::collections::BTreeMap<Option<u8>, u8>,
    }
}

fn main() {}
