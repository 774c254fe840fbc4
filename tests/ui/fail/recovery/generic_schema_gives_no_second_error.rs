use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub enum Broadcast<Word> {
        Said { what: Word },
    }

    pub fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        ctx.broadcast(&Broadcast::Said { what: 1 })?;
        Ok(())
    }
}

fn main() {}
