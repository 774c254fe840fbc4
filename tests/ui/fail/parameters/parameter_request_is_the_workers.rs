use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub async fn on_request(_ctx: &Ctx, _request: worker::Request) -> Result<http::Response<Bytes>> {
        Ok(http::Response::new(Bytes::new()))
    }
}

fn main() {}
