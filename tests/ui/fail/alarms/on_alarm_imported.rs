use room_runtime::prelude::*;

mod elsewhere {
    pub fn on_alarm() {}
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub use super::elsewhere::on_alarm;

    pub fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        ctx.schedule(()).after(std::time::Duration::from_secs(30))?;
        Ok(())
    }
}

fn main() {}
