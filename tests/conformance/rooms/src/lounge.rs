//! Rooms that track presence: lost connections, kept places, rooms with `purge_after`, and states of an older version.

use room_runtime::{Peer, RoomContext, prelude::*};

use crate::script::{self, Scripted};

/// Lists every user with the number of its connections, or as away.
fn presence<R: Scripted>(ctx: &RoomContext<R>) -> Result<Vec<String>, Failure> {
    let users = ctx.presence()?.into_iter().map(|user| match user.away_since {
        Some(_) => format!("{} away", user.id),
        None => format!("{} x{}", user.id, user.peers.len()),
    });
    Ok(users.collect())
}

/// Logs the close of a peer, with the peer's data.
pub(crate) async fn on_close<R: Scripted>(ctx: &RoomContext<R>, peer: &Peer<R>, close: Close) -> Result<(), Failure> {
    let how = if close.is_lost() { "lost" } else { "left" };
    let line = format!("close {} {} {how}, {} {:?}", peer.id(), close.code, peer.data().name, peer.tags());
    ctx.update(|state| state.log.push(line))?;
    script::run(ctx, None, &peer.data().on_close).await
}

pub(crate) async fn on_away<R: Scripted>(ctx: &RoomContext<R>, peer: &Peer<R>) -> Result<(), Failure> {
    let sent = peer.send(&script::Broadcast::Pong { n: 0 }).map_err(|error| error.kind());
    let here = ctx.peers().iter().any(|other| other == *peer);
    ctx.update(|state| state.log.push(format!("away {}, here: {here}, send is {sent:?}", peer.id())))?;
    script::run(ctx, None, &crate::backstage::script(R::NAME, ctx.id(), "on_away")).await
}

pub(crate) async fn on_resume<R: Scripted>(ctx: &RoomContext<R>, peer: &Peer<R>) -> Result<(), Failure> {
    ctx.update(|state| state.log.push(format!("resume {}", peer.id())))?;
    script::run(ctx, Some(peer), &crate::backstage::script(R::NAME, ctx.id(), "on_resume")).await
}

/// Answers any request with the list of present users.
pub(crate) fn on_request<R: Scripted>(ctx: &RoomContext<R>) -> Result<http::Response<Bytes>, Failure> {
    Ok(http::Response::new(Bytes::from(serde_json::to_vec(&presence(ctx)?)?)))
}

macro_rules! remembering_room {
    ($(#[$doc:meta])* $name:ident($($options:tt)*) $(and $on_resume:ident)? $(then $on_away:ident)?) => {
        $(#[$doc])*
        #[room($($options)*)]
        pub mod $name {
            pub use crate::script::{Broadcast, Connection, Event, State};
            use crate::{lounge, script};
            use room_runtime::prelude::*;

            pub async fn on_start(ctx: &Ctx) -> Result {
                script::on_start(ctx).await
            }

            pub async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
                script::on_upgrade(ctx, upgrade).await
            }

            pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
                script::on_connect(ctx, peer).await
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                script::on_event(ctx, event).await
            }

            pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
                lounge::on_close(ctx, peer, close).await
            }

            pub fn on_request(ctx: &Ctx, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
                lounge::on_request(ctx)
            }

            pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
                script::on_error(ctx, error).await
            }

            $(pub async fn $on_resume(ctx: &Ctx, peer: &Peer) -> Result {
                lounge::on_resume(ctx, peer).await
            })?

            $(pub async fn $on_away(ctx: &Ctx, peer: &Peer) -> Result {
                lounge::on_away(ctx, peer).await
            })?
        }
    };
}

remembering_room! {
    /// A room that keeps places. 5 s is long enough for a busy machine.
    lounge(reconnect_grace = "5s") and on_resume
}

remembering_room! {
    /// A room that keeps places and has `on_away`.
    parlor(reconnect_grace = "5s") and on_resume then on_away
}

remembering_room! {
    /// A room with two places, which it keeps.
    booth(reconnect_grace = "5s", max_peers = 2) and on_resume
}

remembering_room! {
    /// A room that keeps no places.
    hall()
}

remembering_room! {
    /// A room that notices lost peers soon after a restart, but late enough to hibernate first.
    guarded(watchdog = "12s")
}

remembering_room! {
    /// A room that keeps places, and notices lost peers soon after a restart.
    keep(reconnect_grace = "2s", watchdog = "3s") and on_resume
}

remembering_room! {
    /// A room that is purged after all peers have left.
    motel(purge_after = "4s")
}

remembering_room! {
    /// A room that keeps places for longer than the room itself stays stored.
    inn(reconnect_grace = "6s", purge_after = "1s") and on_resume
}

remembering_room! {
    /// A room with two places that closes silent peers soon.
    ward(peer_timeout = "3s", max_peers = 2)
}

remembering_room! {
    /// A room that closes silent peers soon and keeps their places.
    cot(peer_timeout = "3s", reconnect_grace = "5s") and on_resume then on_away
}

remembering_room! {
    /// A room that closes silent peers, but late enough to hibernate first.
    dorm(peer_timeout = "24s")
}

/// A room that is purged after all peers have left, without `on_close`.
#[room(purge_after = "3s", watchdog = "12s")]
pub mod hut {
    use crate::script;
    pub use crate::script::{Broadcast, Connection, Event, State};
    use room_runtime::prelude::*;

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        script::on_connect(ctx, peer).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        script::on_error(ctx, error).await
    }
}

/// A room whose old state was only a number.
#[room(state_version = 2)]
pub mod moved {
    use crate::script;
    pub use crate::script::{Broadcast, Connection, Event, State};
    use room_runtime::prelude::*;

    pub fn migrate(version: u32, state: serde_json::Value) -> Result<State> {
        let log = vec![format!("migrated from {version}")];
        Ok(State { count: serde_json::from_value(state)?, log, ..State::default() })
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
}
