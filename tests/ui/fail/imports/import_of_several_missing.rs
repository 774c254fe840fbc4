use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_request(_ctx: &Ctx, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        Ok(http::Response::new(Bytes::new()))
    }

    pub fn on_decode_error(_ctx: &Ctx, _error: &DecodeError) {}
}

fn main() {}
