//! The room with the list of all auctions.

use room_runtime::prelude::*;

/// Auctions report to this room, and its peers see the list as it changes. Anyone may watch.
#[room(max_peers = 10000, max_message_bytes = 1024, rate_limit(burst = 5, per_second = 1), on_invalid = "close")]
pub mod lobby {
    use std::{collections::BTreeMap, time::Duration};

    use room_runtime::prelude::*;

    /// The id of the only lobby.
    pub const THE_ONE: &str = "main";
    /// The time for which an ended auction remains in the list.
    pub const SHOWN: Duration = Duration::from_secs(3600);

    #[data]
    pub struct Entry {
        pub title: String,
        pub price: u64,
        pub bids: u64,
        pub ends_at_ms: u64,
        pub ended: bool,
        pub version: u64,
    }

    #[derive(Default)]
    pub struct State {
        pub auctions: BTreeMap<String, Entry>,
    }

    pub struct Connection {}

    pub enum Event {
        /// A report from an auction.
        Report { id: String, entry: Entry },
    }

    pub enum Broadcast {
        List { auctions: BTreeMap<String, Entry> },
        Opened { id: String, entry: Entry },
        Changed { id: String, entry: Entry },
        Ended { id: String, entry: Entry },
        Removed { id: String },
    }

    pub struct Alarm {
        pub remove: String,
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::List { auctions: ctx.state()?.auctions.clone() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        if ctx.sender().is_some() {
            return Err(ctx.refuse("the lobby only shows"));
        }
        let Event::Report { id, entry } = event;
        let before = ctx.state()?.auctions.get(&id).map(|known| known.version);
        if before.is_some_and(|version| version >= entry.version) {
            return Ok(()); // a duplicate or an outdated report
        }
        ctx.update(|state| state.auctions.insert(id.clone(), entry.clone()))?;
        if entry.ended {
            ctx.schedule(Alarm { remove: id.clone() }).key(format!("remove {id}")).after(SHOWN)?;
        }
        ctx.broadcast(&match before {
            _ if entry.ended => Broadcast::Ended { id, entry },
            None => Broadcast::Opened { id, entry },
            Some(_) => Broadcast::Changed { id, entry },
        })?;
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let id = alarm.remove;
        if ctx.update(|state| state.auctions.remove(&id))?.is_some() {
            ctx.broadcast(&Broadcast::Removed { id })?;
        }
        Ok(())
    }

    pub fn on_request(ctx: &Ctx, _request: http::Request<Bytes>) -> Result<Json<BTreeMap<String, Entry>>> {
        Ok(Json(ctx.state()?.auctions.clone()))
    }
}
