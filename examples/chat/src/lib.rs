//! A chat: its rooms at `/ws/chat/:id`, and a small HTTP interface for the operator. The page at `/` consists of static
//! assets, which the platform serves.

mod http;
pub mod room;

use room_runtime::prelude::*;
use worker::*;

use crate::{
    http::{Answer, Refusal, Route},
    room::{OPERATOR, chat},
};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    match answer(req, &env).await {
        Ok(response) => Ok(response),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(mut req: Request, env: &Env) -> Answer {
    // The request is read directly, because `req.method()` returns GET for every method that it does not know.
    let (method, url) = (req.inner().method(), req.inner().url());
    let route = Route::parse(&method, &url)?;
    let rooms = chat::RoomClient::from_env(env)?;
    match route {
        Route::Join { room, user_id } => {
            let upgrade = |user_id: String| Upgrade::new(chat::Connection { user_id: user_id.clone() }).id(user_id);
            // A request that is no upgrade gets the error of `upgrade` first, before the error of a missing name.
            let is_upgrade = req.headers().get("upgrade")?.is_some();
            match user_id {
                None if is_upgrade => Err(Refusal::bad_request("the query needs a `userId`")),
                Some(user_id) if user_id == OPERATOR => {
                    Err(Refusal::bad_request(format!("`{OPERATOR}` is who speaks for the operator; take another name")))
                }
                user_id => Ok(rooms.room(room).upgrade(req, upgrade(user_id.unwrap_or_default())).await?),
            }
        }
        Route::State { room } => http::json(&rooms.room(room).state().await?),
        Route::Peers { room, tag } => http::json(&rooms.room(room).peers(tag.as_deref()).await?),
        Route::Say { room } => {
            http::authorize(&req, env)?;
            let Say { text } = http::body(&mut req).await?;
            rooms.room(room).send(&chat::Event::Say { text }).await?;
            http::json(&serde_json::json!({ "status": "ok" }))
        }
        Route::Broadcast { room } => {
            http::authorize(&req, env)?;
            let message: chat::Broadcast = http::body(&mut req).await?;
            http::json(&rooms.room(room).broadcast(&message).await?)
        }
    }
}

/// The body of the operator's `say`.
#[data]
struct Say {
    text: String,
}
