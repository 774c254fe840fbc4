use room_runtime::prelude::*;

#[room]
pub mod documents {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Edited { doc: u32 },
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        // BLOCK
        Ok(())
    }
}
