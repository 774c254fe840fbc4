//! Rooms with the handlers of users, `on_join` and `on_leave`.

use room_runtime::{RoomContext, prelude::*};

use crate::{
    backstage,
    script::{self, Scripted},
};

/// Logs the handler, the user, the name of the peer, and whether the user is present.
fn note<R: Scripted>(ctx: &RoomContext<R>, handler: &str, user: &PeerId) -> Result<(), Failure> {
    let is_present = ctx.presence()?.iter().any(|other| other.id == *user);
    let presence = if is_present { "present" } else { "absent" };
    let by = ctx.sender().map_or_else(|| "nobody".to_owned(), |peer| peer.data().name.clone());
    Ok(ctx.update(|state| state.log.push(format!("{handler} {user} by {by}, {presence}")))?)
}

async fn on_join<R: Scripted>(ctx: &RoomContext<R>, user: &PeerId) -> Result<(), Failure> {
    note(ctx, "join", user)?;
    script::run(ctx, ctx.sender(), &backstage::script(R::NAME, ctx.id(), "on_join")).await
}

async fn on_leave<R: Scripted>(ctx: &RoomContext<R>, user: &PeerId) -> Result<(), Failure> {
    note(ctx, "leave", user)?;
    script::run(ctx, None, &backstage::script(R::NAME, ctx.id(), "on_leave")).await
}

macro_rules! room_of_users {
    ($(#[$doc:meta])* $name:ident($($options:tt)*) $(and $on_resume:ident, $on_away:ident)? $(then $on_close:ident)?) => {
        $(#[$doc])*
        #[room($($options)*)]
        pub mod $name {
            pub use crate::script::{Broadcast, Connection, Event, State};
            use crate::{club, lounge, script};
            use room_runtime::prelude::*;

            pub async fn on_start(ctx: &Ctx) -> Result {
                script::on_start(ctx).await
            }

            pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
                script::on_connect(ctx, peer).await
            }

            pub async fn on_join(ctx: &Ctx, user: &PeerId) -> Result {
                club::on_join(ctx, user).await
            }

            $(pub async fn $on_resume(ctx: &Ctx, peer: &Peer) -> Result {
                lounge::on_resume(ctx, peer).await
            }

            pub async fn $on_away(ctx: &Ctx, peer: &Peer) -> Result {
                lounge::on_away(ctx, peer).await
            })?

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                script::on_event(ctx, event).await
            }

            $(pub async fn $on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
                lounge::on_close(ctx, peer, close).await
            })?

            pub async fn on_leave(ctx: &Ctx, user: &PeerId) -> Result {
                club::on_leave(ctx, user).await
            }

            pub fn on_request(ctx: &Ctx, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
                lounge::on_request(ctx)
            }

            pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
                script::on_error(ctx, error).await
            }
        }
    };
}

room_of_users! {
    /// A room of users that keeps no places.
    club() then on_close
}

room_of_users! {
    /// A room of users that keeps places.
    lodge(reconnect_grace = "5s") and on_resume, on_away then on_close
}

room_of_users! {
    /// A room of users without `on_close`, which notices lost peers soon after a restart.
    porch(watchdog = "3s")
}
