use room_runtime::prelude::*;

#[room(state_version = 2)]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn migrat(_version: u32, _state: room_runtime::serde_json::Value) -> Result<State> {
        Ok(State {})
    }
}

fn main() {}
