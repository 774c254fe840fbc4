use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_request(_ctx: &Ctx, _request: http::Request<Bytes>) -> Result {
        Ok(())
    }
}

fn main() {}
