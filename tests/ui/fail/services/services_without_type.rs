use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services {})
    }
}

fn main() {}
