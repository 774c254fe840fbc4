//! The room of `ours` without batches, for clients of `room.v1`: an acknowledgement would wait for the batch of the messages.

#![forbid(unsafe_code)]

use room_runtime::prelude::*;
use worker::*;

/// A room that echoes and counts.
#[room(binding = "ROOM", class = "NumberedRoom")]
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
        Add { amount: i64 },
    }

    pub enum Broadcast {
        Echo { user_id: String, text: String },
        Count { count: i64 },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        match event {
            Event::Echo { text } => peer.send(&Broadcast::Echo { user_id: peer.data().user_id.clone(), text })?,
            Event::Add { amount } => {
                let count = ctx.update(|state| {
                    state.count += amount;
                    state.count
                })?;
                peer.send(&Broadcast::Count { count })?;
            }
        }
        Ok(())
    }
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _ctx: Context) -> Result<Response> {
    let url = request.url()?;
    let room = bench::RoomClient::from_env(&env)?.room(&url.path()[1..]);
    let user = url.query_pairs().find(|(key, _)| key == "user").map(|(_, value)| value.into_owned());
    Ok(room.upgrade(request, Upgrade::new(bench::Connection { user_id: user.unwrap_or_default() })).await?)
}
