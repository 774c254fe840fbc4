//! A state that was stored under an older version is migrated; and a place is kept for a while.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, warnings)]
#![allow(clippy::assertions_on_constants, clippy::missing_errors_doc, clippy::wildcard_imports)]

use room_runtime::{
    Room,
    prelude::*,
    serde_json::{self, json},
};

/// An auction.
#[room(state_version = 2, reconnect_grace = "10s", purge_after = "30d")]
pub mod auction {
    use super::*;

    /// The highest bid.
    #[derive(Default)]
    pub struct State {
        /// The amount in cents.
        pub cents: u64,
    }
    /// A bidder.
    pub struct Connection {}
    /// An empty event.
    pub struct Event {}
    /// The highest bid.
    pub struct Broadcast {
        /// The amount in cents.
        pub cents: u64,
    }

    /// The first versions counted in euros.
    pub fn migrate(version: u32, state: serde_json::Value) -> Result<State> {
        let euros = match version {
            0 => &state,
            _ => &state["euros"],
        };
        let euros = euros.as_u64().ok_or_else(|| Failure::msg("no bid"))?;
        Ok(State { cents: 100 * euros })
    }

    /// A peer that was away has missed bids.
    pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast { cents: ctx.state()?.cents })?;
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    assert_eq!(auction::Room::STATE_VERSION, 2);
    assert_eq!(auction::Room::RECONNECT_GRACE_MS, 10_000);
    assert_eq!(auction::Room::PURGE_AFTER_MS, 2_592_000_000);
    // `migrate` does not count as a first state.
    assert!(!auction::Room::STORES_FIRST_STATE);

    assert_eq!(auction::Room::migrate(0, json!(3))?.cents, 300);
    assert_eq!(auction::Room::migrate(1, json!({ "euros": 4 }))?.cents, 400);
    let failure = auction::Room::migrate(1, json!({})).expect_err("there is nothing to migrate");
    assert_eq!(failure.to_string(), "no bid");
    Ok(())
}
