use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn alarm(_ctx: &Ctx) {}

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.schedule(()).key("tick").after(std::time::Duration::from_secs(1))?;
        Ok(())
    }
}

fn main() {}
