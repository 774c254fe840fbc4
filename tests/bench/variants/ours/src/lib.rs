//! (d) The same room with `#[room]`.

#![forbid(unsafe_code)]

use room_runtime::prelude::*;
use worker::*;

/// A room that echoes, broadcasts and counts.
#[room(binding = "ROOM", class = "OurRoom", max_peers = 20_000, batch = "20ms")]
pub mod bench {
    #[derive(Default)]
    pub struct State {
        pub count: i64,
    }

    pub struct Connection {
        pub user_id: String,
    }

    pub enum Event {
        Echo { text: String },
        Say { text: String },
        Add { amount: i64 },
        Note { text: String },
    }

    pub enum Broadcast {
        Echo { user_id: String, text: String },
        Message { user_id: String, text: String },
        Count { count: i64 },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        let user_id = || peer.data().user_id.clone();
        match event {
            Event::Echo { text } => peer.send(&Broadcast::Echo { user_id: user_id(), text })?,
            Event::Say { text } => {
                ctx.broadcast(&Broadcast::Message { user_id: user_id(), text })?;
            }
            Event::Add { amount } => {
                let count = ctx.update(|state| {
                    state.count += amount;
                    state.count
                })?;
                peer.send(&Broadcast::Count { count })?;
            }
            Event::Note { .. } => {}
        }
        Ok(())
    }
}

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _ctx: Context) -> Result<Response> {
    let rooms = bench::RoomClient::from_env(&env)?;
    let url = request.url()?;
    let room = rooms.room(&url.path()[1..]);
    let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if request.method() == Method::Post {
        let event: bench::Event = request.json().await?;
        let times: u32 = query("times").and_then(|times| times.parse().ok()).unwrap_or(1);
        for _ in 0..times {
            room.send(&event).await?;
        }
        return Ok(Response::empty()?.with_status(204));
    }
    let user_id = query("user").unwrap_or_default();
    Ok(room.upgrade(request, Upgrade::new(bench::Connection { user_id })).await?)
}
