use crate::rooms::poll;
use room_runtime::{Error, prelude::*};
use worker::{Env, Request, Response, Result, Router};

async fn fetch(request: Request, env: Env) -> Result<Response> {
    // BLOCK
}
