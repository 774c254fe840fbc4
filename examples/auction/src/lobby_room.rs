//! The room that lists the auctions.

use room_runtime::prelude::*;

/// The lobby: all auctions that run, and the last ones that ended.
#[room(max_peers = 5000, max_message_bytes = 1024, rate_limit(burst = 10, per_second = 1), batch = "50ms")]
pub mod lobby {
    use room_runtime::prelude::*;

    use crate::sale::Phase;

    /// The id of the only lobby.
    pub const ID: &str = "main";
    /// The number of auctions in the list that have not ended.
    pub const RUNNING: u64 = 200;
    /// The number of ended auctions that stay in the list.
    pub const ENDED: u64 = 12;

    /// The auctions are in a table, so that a report writes one row. A state would be written whole.
    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        /// The newest standing of an auction; only an auction sends it.
        Report { listing: Listing },
    }

    /// An auction in the list.
    #[data]
    pub struct Listing {
        pub id: String,
        pub title: String,
        /// The seller's name.
        pub seller: String,
        pub phase: Phase,
        /// The highest bid, or the start price, in cents.
        pub price: u64,
        pub bids: u64,
        /// The name of the highest bidder.
        pub leader: Option<String>,
        pub opens_at_ms: u64,
        pub ends_at_ms: u64,
    }

    pub enum Broadcast {
        /// Replaces the list: the auctions that end next, and the last ones that ended.
        Auctions {
            auctions: Vec<Listing>,
            now_ms: u64,
        },
        /// Adds an auction, or replaces it.
        Listed {
            listing: Listing,
            now_ms: u64,
        },
        Unlisted {
            id: String,
        },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.sql().migrate(&["
            create table auctions (
                id text primary key, is_ended integer not null, ends_at_ms integer not null, listing text not null
            );
            create index auctions_by_end on auctions (is_ended, ends_at_ms);
        "])?;
        Ok(())
    }

    /// The lobby has neither a grace nor a log: a page that reconnects gets the list again, which is short.
    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Auctions { auctions: auctions(ctx)?, now_ms: ctx.now_ms() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        if ctx.sender().is_some() {
            return Err(ctx.refuse("only an auction reports"));
        }
        let Event::Report { listing } = event;
        let dropped = store(ctx, &listing)?;
        ctx.broadcast(&Broadcast::Listed { listing, now_ms: ctx.now_ms() })?;
        for id in dropped {
            ctx.broadcast(&Broadcast::Unlisted { id })?;
        }
        Ok(())
    }

    /// Returns the list of a page.
    #[call(worker)]
    pub fn list(ctx: &Ctx) -> Result<Vec<Listing>> {
        auctions(ctx)
    }

    /// Stores an auction, and returns the ended ones that leave the list for it.
    ///
    /// The reports of an auction arrive in order and each once, because they are durable calls. So the last one counts.
    fn store(ctx: &Ctx, listing: &Listing) -> Result<Vec<String>> {
        ctx.sql().transaction(|sql| {
            let is_ended = matches!(listing.phase, Phase::Sold | Phase::Unsold);
            sql.exec(
                "insert or replace into auctions (id, is_ended, ends_at_ms, listing) values (?, ?, ?, ?)",
                (&*listing.id, is_ended, listing.ends_at_ms, serde_json::to_string(listing)?),
            )?;
            let dropped: Vec<String> = sql.query(
                "select id from auctions where is_ended order by ends_at_ms desc, id limit -1 offset ?",
                (ENDED,),
            )?;
            for id in &dropped {
                sql.exec("delete from auctions where id = ?", (&**id,))?;
            }
            Ok(dropped)
        })
    }

    /// The running auctions, the next end first, and then the ended ones, the last end first.
    fn auctions(ctx: &Ctx) -> Result<Vec<Listing>> {
        let mut rows: Vec<String> = ctx
            .sql()
            .query("select listing from auctions where not is_ended order by ends_at_ms, id limit ?", (RUNNING,))?;
        let ended: Vec<String> =
            ctx.sql().query("select listing from auctions where is_ended order by ends_at_ms desc, id", ())?;
        rows.extend(ended);
        rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
    }
}
