use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    use super::{Bytes, http};

    pub fn fetch(_ctx: &Ctx, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        Ok(http::Response::new(Bytes::new()))
    }
}

fn main() {}
