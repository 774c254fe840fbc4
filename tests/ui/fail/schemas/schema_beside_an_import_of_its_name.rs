use room_runtime::prelude::*;

#[room]
pub mod chat {
    use worker::State;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.update(|state| *state = State {})?;
        Ok(())
    }
}

fn main() {}
