use room_runtime::prelude::*;

#[room(state_version = 1)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn migrate(_version: u32, _state: serde_json::Value) -> Result<State> {
        Ok(State {})
    }
}

fn main() {}
