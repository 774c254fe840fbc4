// A room with an update of its own protocol.
use room_runtime::prelude::*;

pub struct Update(Vec<u8>);

impl Update {
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        Ok(Self(bytes.to_vec()))
    }

    pub fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }
}

#[room]
pub mod document {
    use super::Update;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Pong,
    }

    // BLOCK
}
