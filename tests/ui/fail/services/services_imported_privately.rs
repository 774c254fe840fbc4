use room_runtime::prelude::*;

pub struct Services {}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use super::Services;

    pub fn services(_env: &worker::Env) -> Services {
        Services {}
    }
}

fn main() {}
