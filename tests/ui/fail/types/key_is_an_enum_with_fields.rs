use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Broadcast {}

    pub enum Event {
        Do { field: Part },
    }

    #[data]
    pub struct Part {
        pub map: std::collections::BTreeMap<Side, u8>,
    }

    #[data]
    #[derive(Eq, PartialOrd, Ord)]
    pub enum Side {
        Left,
        Other { name: String },
    }
}

fn main() {}
