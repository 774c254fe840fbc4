//! A room whose peers come, vanish and crash it, in each of its handlers.

use std::time::Duration;

use room_runtime::prelude::*;

use crate::{crash::Crash, log};

/// A room that logs what becomes of each peer. A peer can carry a crash into any handler.
#[room(reconnect_grace = "1s", watchdog = "3s", max_peers = 32768)]
pub mod porch {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub connects: u64,
        pub closes: u64,
    }

    pub struct Connection {
        pub crash: Option<Sabotage>,
    }

    /// A crash in a handler.
    #[data]
    pub struct Sabotage {
        /// The name of the handler.
        pub handler: String,
        pub how: Crash,
        /// The time for which the handler waits before it crashes.
        pub wait_ms: u64,
    }

    pub enum Event {
        Hello {},
        Crash { how: Crash, wait_ms: u64 },
    }

    pub enum Broadcast {
        Hello {},
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        log::start(ctx)?;
        Ok(())
    }

    pub async fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        if let Some(Sabotage { handler, how, wait_ms }) = &upgrade.data.crash
            && handler == "on_upgrade"
        {
            wait(*wait_ms).await;
            crate::crash::crash(*how);
        }
        Ok(())
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        sabotage(peer, "on_connect").await;
        // The last step of the handler: a crash before it refuses the peer, which then gets no `on_close`.
        ctx.update(|state| state.connects += 1)?;
        log::append(ctx, "connect", peer.id().as_str(), 0)?;
        Ok(())
    }

    pub async fn on_join(ctx: &Ctx, user: &PeerId) -> Result {
        log::append(ctx, "join", user.as_str(), 0)?;
        sabotage_sender(ctx, "on_join").await;
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Hello {} => {
                if let Some(peer) = ctx.sender() {
                    peer.send(&Broadcast::Hello {})?;
                }
            }
            Event::Crash { how, wait_ms } => {
                wait(wait_ms).await;
                crate::crash::crash(how);
            }
        }
        Ok(())
    }

    pub async fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        log::append(ctx, "away", peer.id().as_str(), 0)?;
        sabotage(peer, "on_away").await;
        Ok(())
    }

    pub async fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        log::append(ctx, "resume", peer.id().as_str(), 0)?;
        sabotage(peer, "on_resume").await;
        Ok(())
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        ctx.update(|state| state.closes += 1)?;
        log::append(ctx, "close", peer.id().as_str(), close.code.into())?;
        sabotage(peer, "on_close").await;
        Ok(())
    }

    pub async fn on_leave(ctx: &Ctx, user: &PeerId) -> Result {
        log::append(ctx, "leave", user.as_str(), 0)?;
        sabotage_sender(ctx, "on_leave").await;
        Ok(())
    }

    pub async fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        log::append(ctx, "request", "", 0)?;
        let Sabotage { how, wait_ms, .. } = serde_json::from_slice(request.body())?;
        wait(wait_ms).await;
        crate::crash::crash(how);
        Ok(http::Response::new(Bytes::new()))
    }

    /// The rows of the log after a position.
    #[call(worker)]
    pub fn log(ctx: &Ctx, after: u64) -> Result<Vec<log::Row>> {
        Ok(log::after(ctx, after)?)
    }

    async fn sabotage_sender(ctx: &Ctx, handler: &str) {
        if let Some(peer) = ctx.sender() {
            sabotage(peer, handler).await;
        }
    }

    async fn sabotage(peer: &Peer, handler: &str) {
        let Some(Sabotage { handler: at, how, wait_ms }) = peer.data().crash.clone() else { return };
        if at == handler {
            wait(wait_ms).await;
            crate::crash::crash(how);
        }
    }

    async fn wait(ms: u64) {
        if ms > 0 {
            worker::Delay::from(Duration::from_millis(ms)).await;
        }
    }
}
