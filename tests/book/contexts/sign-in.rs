// The room of an auction whose services check tokens.
use room_runtime::prelude::*;

pub struct Signer;

pub struct Claims {
    pub user: String,
    pub role: Role,
}

#[data]
pub enum Role {
    Bidder,
    Spectator,
}

impl Signer {
    pub fn check(&self, _token: &str, _now_ms: u64) -> Option<Claims> {
        None
    }
}

#[room]
pub mod auction {
    use super::{Role, Signer};
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {
        pub role: Role,
    }

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Pong,
    }

    pub struct Services {
        pub signer: Signer,
    }

    pub fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services { signer: Signer })
    }

    // BLOCK
}
