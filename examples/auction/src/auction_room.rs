//! The room of one lot.

use room_runtime::prelude::*;

/// The auction of one lot: who is present, the bids, the countdown, and one winner.
#[room(
    max_peers = 2000,
    max_message_bytes = 4096,
    rate_limit(burst = 20, per_second = 4),
    reconnect_grace = "2m",
    replay = 1000,
    batch = "20ms"
)]
pub mod auction {
    use std::{collections::HashMap, time::Duration};

    use room_runtime::prelude::*;

    use crate::{
        lobby_room::lobby,
        sale::{self, BidError, Lot, Offer, OpenError, Phase, Sale, User},
    };

    /// The tags of the peers.
    pub const BIDDER: &str = "bidder";
    pub const SPECTATOR: &str = "spectator";
    /// The time for which a closed auction can be looked at.
    pub const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);
    /// The time until an auction reports again to a lobby for which too many reports wait.
    const REPORT_AGAIN: Duration = Duration::from_secs(10);
    /// The number of bids in a snapshot, and in one answer of `history`.
    pub const PAGE: u64 = 30;

    /// `None` until the Worker opens the auction: every id names a room, also one that nobody opened.
    #[derive(Default)]
    pub struct State {
        pub sale: Option<Sale>,
    }

    /// The data of one peer. The Worker takes it from the signed cookie; a peer without one is a spectator.
    pub struct Connection {
        pub user: Option<User>,
    }

    /// Peers send no events: each of their requests is a call with an answer.
    pub enum Event {}

    /// The public part of an auction that changes.
    #[data]
    pub struct Standing {
        pub phase: Phase,
        /// The highest bid, or the start price, in cents.
        pub price: u64,
        pub leader: Option<User>,
        /// The least amount of the next bid.
        pub least: u64,
        /// The difference between that and the price after it, for buttons.
        pub step: u64,
        /// The number of bids.
        pub bids: u64,
        pub opens_at_ms: u64,
        pub ends_at_ms: u64,
        /// The time of the room. A page counts down from it, because its own clock can be wrong.
        pub now_ms: u64,
    }

    /// A row of the history.
    #[data]
    pub struct Bid {
        pub seq: u64,
        pub user_id: String,
        pub name: String,
        pub amount: u64,
        pub at_ms: u64,
        /// True if the room bid for the user, up to the user's maximum.
        pub is_automatic: bool,
    }

    /// A bidder who is present, or lost the connection a moment ago.
    #[data]
    pub struct Person {
        pub user: User,
        pub is_away: bool,
    }

    /// All that a page shows, for a new peer and for one that missed messages.
    #[data]
    pub struct View {
        pub lot: Lot,
        pub seller: User,
        pub standing: Standing,
        /// The newest bids, newest first.
        pub bids: Vec<Bid>,
        pub people: Vec<Person>,
        pub spectators: usize,
        /// The receiver; `None` for a spectator.
        pub you: Option<User>,
        /// The receiver's own maximum, if the receiver has the highest bid.
        pub maximum: Option<u64>,
    }

    /// The answer of `info`.
    #[data]
    pub struct Info {
        pub id: RoomId,
        pub lot: Lot,
        pub seller: User,
        pub standing: Standing,
    }

    /// The answer to a bid that was accepted.
    #[data]
    pub struct Placed {
        /// False if somebody's maximum was higher.
        pub is_leading: bool,
        pub price: u64,
        pub least: u64,
    }

    pub enum Broadcast {
        // To one peer:
        /// Replaces everything that the page shows.
        Snapshot {
            view: Box<View>,
        },
        /// The time of the room, for a page that may have slept.
        Clock {
            now_ms: u64,
        },

        // To all peers:
        Opened {
            standing: Standing,
        },
        Bids {
            standing: Standing,
            bids: Vec<Bid>,
            is_extended: bool,
        },
        Closed {
            standing: Standing,
        },
        Joined {
            user: User,
        },
        Away {
            id: String,
        },
        Back {
            id: String,
        },
        Left {
            id: String,
        },
        Spectators {
            count: usize,
        },

        // To the connections of one user:
        /// Somebody else has the highest bid now.
        Outbid {
            price: u64,
            least: u64,
        },
        /// The user's own maximum, which nobody else sees.
        Maximum {
            amount: u64,
        },
        Won {
            price: u64,
        },
    }

    pub enum Alarm {
        Open,
        Close,
        /// Reports to the lobby, which was out of reach.
        Report,
        Forget,
    }

    /// Creates the tables of an open auction. A room that nobody opened stores nothing.
    pub fn on_start(ctx: &Ctx) -> Result {
        if ctx.state()?.sale.is_some() { create_tables(ctx) } else { Ok(()) }
    }

    fn create_tables(ctx: &Ctx) -> Result {
        ctx.sql().migrate(&["
            create table users (id text primary key, name text not null) without rowid;
            create table bids (
                seq integer primary key, user_id text not null references users, amount integer not null,
                at_ms integer not null, is_automatic integer not null
            );
        "])?;
        Ok(())
    }

    pub fn on_upgrade(ctx: &Ctx, _upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        match ctx.state()?.sale {
            Some(_) => Ok(()),
            None => Err(Reject::new(404, "there is no such auction")),
        }
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        if let Some(user) = &peer.data().user {
            remember(ctx, user)?;
        }
        snapshot(ctx, peer)
    }

    /// Runs after the room has sent the messages that the peer missed.
    pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        if peer.has_gap() {
            snapshot(ctx, peer)?;
        } else {
            peer.send(&Broadcast::Clock { now_ms: ctx.now_ms() })?;
        }
        match &peer.data().user {
            Some(user) => ctx.broadcast(&Broadcast::Back { id: user.id.clone() })?,
            None => announce_spectators(ctx)?,
        };
        Ok(())
    }

    /// Several tabs of a bidder are one user, who joins once.
    pub fn on_join(ctx: &Ctx, _user: &PeerId) -> Result {
        match ctx.sender().and_then(|peer| peer.data().user.clone()) {
            Some(user) => ctx.broadcast(&Broadcast::Joined { user })?,
            None => announce_spectators(ctx)?,
        };
        Ok(())
    }

    pub fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        match &peer.data().user {
            // Another tab may still be there.
            Some(user) if ctx.peers().with_id(peer.id()).is_empty() => {
                ctx.broadcast(&Broadcast::Away { id: user.id.clone() })?;
            }
            Some(_) => {}
            None => drop(announce_spectators(ctx)?),
        }
        Ok(())
    }

    pub fn on_leave(ctx: &Ctx, user: &PeerId) -> Result {
        // A spectator's id is not among those of the bidders, so its page ignores it.
        ctx.broadcast(&Broadcast::Left { id: user.to_string() })?;
        announce_spectators(ctx)?;
        Ok(())
    }

    pub fn on_event(_ctx: &Ctx, event: Event) -> Result {
        match event {}
    }

    /// Opens the auction. No page can call this.
    #[call(worker)]
    pub fn open(ctx: &Ctx, lot: Lot, seller: User) -> Result<(), OrFailure<OpenError>> {
        if ctx.state()?.sale.is_some() {
            return Err(OpenError::AlreadyOpen.into());
        }
        let sale = Sale::new(lot.checked()?, seller, ctx.now_ms());
        create_tables(ctx)?;
        ctx.sql().transaction(|_| {
            if sale.opens_at_ms > ctx.now_ms() {
                ctx.schedule(Alarm::Open).key("open").at(sale.opens_at_ms)?;
            }
            ctx.schedule(Alarm::Close).key("close").at(sale.ends_at_ms)?;
            ctx.update(|state| state.sale = Some(sale))?;
            report(ctx)
        })?;
        Ok(())
    }

    /// Bids exactly this amount, in cents.
    #[call]
    pub fn bid(ctx: &Ctx, amount: u64) -> Result<Placed, OrFailure<BidError>> {
        offer(ctx, Offer::Exactly(amount))
    }

    /// Lets the room bid for the user: as little as necessary, and at most this amount, in cents.
    #[call]
    pub fn set_maximum(ctx: &Ctx, amount: u64) -> Result<Placed, OrFailure<BidError>> {
        offer(ctx, Offer::UpTo(amount))
    }

    fn offer(ctx: &Ctx, offer: Offer) -> Result<Placed, OrFailure<BidError>> {
        let user = ctx.sender().and_then(|peer| peer.data().user.clone()).ok_or(BidError::SignIn)?;
        let now_ms = ctx.now_ms();
        let mut sale = ctx.state()?.sale.clone().ok_or_else(|| absent(ctx))?;
        let before = sale.bids;
        let accepted = sale.offer(&user, offer, now_ms)?;
        let maximum = sale.maximum_of(&user.id);
        let placed = Placed { is_leading: maximum.is_some(), price: sale.price(), least: sale.least() };

        // The rows, the state, the new end and the report to the lobby are stored together, or none of them.
        ctx.sql().transaction(|sql| {
            for (seq, step) in (before + 1..).zip(&accepted.steps) {
                sql.exec(
                    "insert into bids (seq, user_id, amount, at_ms, is_automatic) values (?, ?, ?, ?, ?)",
                    (seq, &*step.user.id, step.amount, now_ms, step.is_automatic),
                )?;
            }
            if accepted.is_extended {
                // The key replaces the schedule of the old end.
                ctx.schedule(Alarm::Close).key("close").at(sale.ends_at_ms)?;
            }
            ctx.update(|state| state.sale = Some(sale))?;
            if accepted.steps.is_empty() { Ok(()) } else { report(ctx) }
        })?;

        // Messages follow the transaction: they could not be taken back.
        if !accepted.steps.is_empty() {
            let bids = newest_bids(ctx, None, accepted.steps.len() as u64)?;
            ctx.broadcast(&Broadcast::Bids { standing: standing(ctx)?, bids, is_extended: accepted.is_extended })?;
        }
        if let Some(loser) = &accepted.outbid {
            let outbid = Broadcast::Outbid { price: placed.price, least: placed.least };
            // A bidder who is away gets it from the log of `replay`.
            ctx.peers().with_id(&loser.id).send(&outbid)?;
        }
        if let Some(amount) = maximum {
            ctx.peers().with_id(&user.id).send(&Broadcast::Maximum { amount })?;
        }
        Ok(placed)
    }

    /// Returns bids, newest first: those before a number, or the newest ones.
    #[call]
    pub fn history(ctx: &Ctx, before: Option<u64>) -> Result<Vec<Bid>> {
        match ctx.state()?.sale {
            Some(_) => newest_bids(ctx, before, PAGE),
            None => Err(absent(ctx)),
        }
    }

    /// Returns the public part of the auction.
    #[call(worker)]
    pub fn info(ctx: &Ctx) -> Result<Info> {
        let state = ctx.state()?;
        let sale = state.sale.as_ref().ok_or_else(|| absent(ctx))?;
        let (lot, seller) = (sale.lot.clone(), sale.seller.clone());
        Ok(Info { id: ctx.id().clone(), lot, seller, standing: standing(ctx)? })
    }

    /// An alarm fires at least once: after a crash it can run again, so each arm can.
    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        match alarm {
            Alarm::Open => {
                report(ctx)?;
                ctx.broadcast(&Broadcast::Opened { standing: standing(ctx)? })?;
            }
            Alarm::Close => close(ctx)?,
            Alarm::Report => report(ctx)?,
            Alarm::Forget => return ctx.purge(),
        }
        Ok(())
    }

    fn close(ctx: &Ctx) -> Result {
        let now_ms = ctx.now_ms();
        ctx.sql().transaction(|_| {
            if ctx.update(|state| state.sale.as_mut().is_some_and(|sale| sale.close(now_ms)))? {
                ctx.schedule(Alarm::Forget).key("forget").after(KEEP)?;
                report(ctx)?;
            }
            Ok(())
        })?;
        let standing = standing(ctx)?;
        if standing.phase == Phase::Running {
            // The platform's clock differs by some milliseconds between two of its machines.
            ctx.schedule(Alarm::Close).key("close").at(standing.ends_at_ms)?;
            return Ok(());
        }
        // After a crash between the transaction and here, the second attempt sends these.
        let (price, winner) = (standing.price, standing.leader.clone());
        ctx.broadcast(&Broadcast::Closed { standing })?;
        if let Some(winner) = winner {
            ctx.peers().with_id(&winner.id).send(&Broadcast::Won { price })?;
        }
        Ok(())
    }

    /// Sends the lobby the auction as it is now, together with the changes that are stored. Crashes do not lose it.
    fn report(ctx: &Ctx) -> Result {
        let state = ctx.state()?;
        let Some(sale) = &state.sale else { return Ok(()) };
        let listing = lobby::Listing {
            id: ctx.id().to_string(),
            title: sale.lot.title.clone(),
            seller: sale.seller.name.clone(),
            phase: sale.phase(ctx.now_ms()),
            price: sale.price(),
            bids: sale.bids,
            leader: sale.leader.as_ref().map(|leader| leader.user.name.clone()),
            opens_at_ms: sale.opens_at_ms,
            ends_at_ms: sale.ends_at_ms,
        };
        match ctx.room::<lobby::Room>(lobby::ID)?.send(&lobby::Event::Report { listing }).durably() {
            // Thousands of reports wait for a lobby that is out of reach. Bids go on, and a later report says the same.
            Err(error) if error.kind() == ErrorKind::OutboxFull => {
                ctx.schedule(Alarm::Report).key("report").after(REPORT_AGAIN)?;
                Ok(())
            }
            reported => Ok(reported?),
        }
    }

    /// Reports again: the lobby was out of reach for a day. Only the newest report counts.
    pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
        tracing::warn!(error = %undelivered.error(), attempts = undelivered.attempts(), "the lobby has not answered");
        report(ctx)
    }

    fn snapshot(ctx: &Ctx, peer: &Peer) -> Result {
        let state = ctx.state()?;
        let sale = state.sale.as_ref().ok_or_else(|| absent(ctx))?;
        let you = peer.data().user.clone();
        let view = View {
            lot: sale.lot.clone(),
            seller: sale.seller.clone(),
            standing: standing(ctx)?,
            bids: newest_bids(ctx, None, PAGE)?,
            people: people(ctx)?,
            spectators: spectators(ctx),
            maximum: you.as_ref().and_then(|user| sale.maximum_of(&user.id)),
            you,
        };
        peer.send(&Broadcast::Snapshot { view: Box::new(view) })?;
        Ok(())
    }

    fn standing(ctx: &Ctx) -> Result<Standing> {
        let (state, now_ms) = (ctx.state()?, ctx.now_ms());
        let sale = state.sale.as_ref().ok_or_else(|| absent(ctx))?;
        let least = sale.least();
        Ok(Standing {
            phase: sale.phase(now_ms),
            price: sale.price(),
            leader: sale.leader.as_ref().map(|leader| leader.user.clone()),
            least,
            step: sale::step(least),
            bids: sale.bids,
            opens_at_ms: sale.opens_at_ms,
            ends_at_ms: sale.ends_at_ms,
            now_ms,
        })
    }

    fn newest_bids(ctx: &Ctx, before: Option<u64>, limit: u64) -> Result<Vec<Bid>> {
        // SQLite has integers of 64 bits with a sign.
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let rows = ctx.sql().query(
            "select seq, user_id, name, amount, at_ms, is_automatic from bids join users on users.id = user_id
             where seq < ? order by seq desc limit ?",
            (before, limit),
        )?;
        Ok(rows)
    }

    /// Stores the name of a bidder, for the history and for the time when the bidder is away.
    fn remember(ctx: &Ctx, user: &User) -> Result {
        ctx.sql().exec(
            "insert into users (id, name) values (?, ?) on conflict (id) do update set name = excluded.name",
            (&*user.id, &*user.name),
        )?;
        Ok(())
    }

    /// The bidders who are present. A bidder who is away has no peer, so the name is in the table.
    fn people(ctx: &Ctx) -> Result<Vec<Person>> {
        let names: Vec<(String, String)> = ctx.sql().query("select id, name from users", ())?;
        let names: HashMap<_, _> = names.into_iter().collect();
        let present = ctx.presence()?.into_iter().filter_map(|present| {
            let (id, name) = names.get_key_value(present.id.as_str())?;
            let user = User { id: id.clone(), name: name.clone() };
            Some(Person { user, is_away: present.peers.is_empty() })
        });
        Ok(present.collect())
    }

    fn spectators(ctx: &Ctx) -> usize {
        ctx.peers().tagged(SPECTATOR).len()
    }

    fn announce_spectators(ctx: &Ctx) -> Result<Delivery> {
        Ok(ctx.broadcast(&Broadcast::Spectators { count: spectators(ctx) })?)
    }

    fn absent(ctx: &Ctx) -> Failure {
        ctx.refuse("there is no such auction").with_status(http::StatusCode::NOT_FOUND)
    }
}

#[cfg(test)]
mod tests;
