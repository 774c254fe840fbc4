use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Services<T> {
        pub value: T,
    }

    pub fn services(_env: &worker::Env) -> Result<Services<u32>> {
        Ok(Services { value: 3 })
    }
}

fn main() {}
