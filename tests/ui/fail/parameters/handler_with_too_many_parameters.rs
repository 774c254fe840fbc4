use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub async fn on_connect(_ctx: &Ctx, _peer: &Peer, _name: String) -> Result {
        Ok(())
    }
}

fn main() {}
