use room_runtime::prelude::*;

#[room]
pub mod chat {
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[derive(Default)]
    pub struct State {
        pub field: Services,
    }

    pub struct Services {}

    fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services {})
    }
}

fn main() {}
