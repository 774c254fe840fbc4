use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub enum Alarm {
        Close,
    }

    pub fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        ctx.schedule(Alarm::Close).after(std::time::Duration::from_secs(30))?;
        Ok(())
    }
}

fn main() {}
