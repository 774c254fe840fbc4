//! A room with functions, and a room that calls them.

use room_runtime::prelude::*;

/// A room with functions for its clients.
#[room(codec = "json, msgpack", max_message_bytes = 100_000)]
pub mod desk {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{PANIC, gates, script};
    use room_runtime::prelude::*;

    /// The functions' own error.
    #[data]
    pub enum DeskError {
        /// The amount is not what the count must be.
        Wrong {
            /// The count.
            count: i64,
        },
        Nothing,
    }

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        script::on_connect(ctx, peer).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        script::on_close(ctx, peer, close).await
    }

    pub async fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
        script::on_decode_error(ctx, error).await
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        script::on_error(ctx, error).await
    }

    /// Adds to the count, which it returns. With a gate it waits there before.
    #[call]
    pub async fn add(ctx: &Ctx, amount: i64, gate: Option<String>) -> Result<i64, OrFailure<DeskError>> {
        if let Some(gate) = gate {
            if let Some(peer) = ctx.sender() {
                peer.send(&Broadcast::Holding { gate: gate.clone() })?;
            }
            gates::wait(ctx.name(), ctx.id(), &gate).await;
        }
        if amount == 0 {
            return Err(DeskError::Nothing.into());
        }
        let count = ctx.update(|state| {
            state.count += amount;
            state.count
        })?;
        if count < 0 { Err(DeskError::Wrong { count }.into()) } else { Ok(count) }
    }

    /// The id of the peer that calls.
    #[call]
    pub fn caller(ctx: &Ctx) -> Option<PeerId> {
        ctx.sender().map(|peer| peer.id().clone())
    }

    /// Sends a message, and then returns.
    #[call]
    pub fn announce(ctx: &Ctx, text: String) -> Result {
        let from = ctx.sender().map(|peer| peer.id().to_string());
        ctx.broadcast(&Broadcast::Said { from, text })?;
        Ok(())
    }

    #[call]
    pub fn fail(ctx: &Ctx) -> Result {
        ctx.update(|state| state.count += 100)?;
        Err(Failure::msg("a secret"))
    }

    #[call]
    pub fn decline(ctx: &Ctx) -> Result<u8> {
        Err(ctx.refuse("not now").with_status(http::StatusCode::CONFLICT))
    }

    #[call]
    pub fn panics(_ctx: &Ctx) -> u8 {
        panic!("{PANIC}")
    }

    /// Returns a text of this length.
    #[call]
    pub fn text(_ctx: &Ctx, length: usize) -> String {
        "x".repeat(length)
    }

    /// Returns what it gets.
    #[call]
    pub fn echo(_ctx: &Ctx, number: u64, float: f64, list: Vec<Option<bool>>) -> (u64, f64, Vec<Option<bool>>) {
        (number, float, list)
    }

    /// Ends the life of the room.
    #[call]
    pub fn end(ctx: &Ctx) -> Result {
        ctx.purge()
    }

    /// Sets the count to 0, and returns what it was.
    #[call(worker)]
    pub fn reset(ctx: &Ctx) -> Result<i64> {
        Ok(ctx.update(|state| std::mem::take(&mut state.count))?)
    }
}

/// A room whose events call the desk of the same id. A peer gets the outcome as a text.
#[room]
pub mod front {
    use super::desk::{self, Calls as _};
    pub use crate::script::{Broadcast, Connection, Event, State};

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Ping { n } = event else { return Ok(()) };
        let desk = ctx.room::<desk::Room>(ctx.id().clone())?;
        let text = match n {
            0 => format!("{:?}", desk.add(0, None).await),
            1..100 => format!("{:?}", desk.add(n.into(), None).await.ok()),
            100 => format!("{:?}", desk.caller().await.ok()),
            101 => format!("{:?}", desk.reset().await.ok()),
            102 => format!("{:?}", desk.echo(u64::MAX, 0.1, vec![None, Some(true)]).await.ok()),
            103 => described(desk.fail().await.err()),
            104 => described(desk.decline().await.err()),
            105 => described(desk.text(1_000_001).await.err()),
            106 => described(desk.end().await.err()),
            107 => format!("{:?}", desk.add(-1_000, None).await.err().and_then(room_runtime::CallError::returned)),
            _ => {
                let once = || desk.add(1, None).idempotency_key(format!("{n}"));
                format!("{:?} {:?}", once().await.ok(), once().await.ok())
            }
        };
        if let Some(peer) = ctx.sender() {
            peer.send(&Broadcast::Said { from: None, text })?;
        }
        Ok(())
    }

    fn described(error: Option<room_runtime::Error>) -> String {
        error.map_or_else(String::new, |error| {
            format!("{} {} {:?} {}", error.kind(), error.status().as_u16(), error.handler(), error.message())
        })
    }
}
