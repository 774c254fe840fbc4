use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: std::collections::BTreeMap<Point, u8>,
    }

    #[data]
    #[derive(Eq, PartialOrd, Ord)]
    pub struct Point {
        pub x: u8,
    }
}

fn main() {}
