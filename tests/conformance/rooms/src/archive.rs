//! A room that replays what its peers have missed.

use room_runtime::prelude::*;

/// A room with a log of sixty messages.
#[room(codec = "json, msgpack", reconnect_grace = "8s", replay(messages = 60, age = "1h", bytes = 20000))]
pub mod archive {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{lounge, script};
    use room_runtime::prelude::*;

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        if peer.has_gap() {
            ctx.update(|state| state.log.push(format!("connect {} with a gap", peer.id())))?;
        }
        script::on_connect(ctx, peer).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }

    pub async fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.update(|state| state.log.push(format!("resume {}, gap: {}", peer.id(), peer.has_gap())))?;
        script::run(ctx, Some(peer), &crate::backstage::script(ctx.name(), ctx.id(), "on_resume")).await
    }

    pub async fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        script::run(ctx, Some(peer), &crate::backstage::script(ctx.name(), ctx.id(), "on_away")).await
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        lounge::on_close(ctx, peer, close).await
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        script::on_error(ctx, error).await
    }
}
