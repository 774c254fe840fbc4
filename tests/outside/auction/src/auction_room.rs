//! The room of one auction.

use room_runtime::prelude::*;

/// One lot for sale: the present users, the bids, and the end.
#[room(max_peers = 1000, max_message_bytes = 4096, rate_limit(burst = 10, per_second = 2), reconnect_grace = "30s")]
pub mod auction {
    use std::time::Duration;

    use http::StatusCode;
    use room_runtime::prelude::*;

    use crate::{
        api::Route,
        lobby,
        token::{Role, Signer},
    };

    /// A bid within this time before the end moves the end to this long after the bid.
    pub const EXTENSION_MS: u64 = 10_000;
    /// The time for which an ended auction remains visible.
    pub const ARCHIVE: Duration = Duration::from_secs(90 * 24 * 3600);
    /// The maximum number of bids in one response.
    pub const PAGE: u64 = 100;

    /// The lot for sale.
    #[data]
    pub struct Lot {
        pub title: String,
        pub description: String,
        pub seller: String,
        /// The price in cents.
        pub start_price: u64,
        pub min_step: u64,
    }

    #[data]
    pub struct Bid {
        pub user: String,
        pub amount: u64,
        pub at_ms: u64,
    }

    /// An auction that was opened.
    #[data]
    pub struct Sale {
        pub lot: Lot,
        pub ends_at_ms: u64,
        pub highest: Option<Bid>,
        /// The number of accepted bids: the rows of the table `bids` up to this number count.
        pub bids: u64,
        pub ended: bool,
        /// The number of changes, so that the lobby can distinguish an old report from a new one.
        pub version: u64,
    }

    impl Sale {
        /// The minimum amount of the next bid.
        pub fn minimum(&self) -> u64 {
            match &self.highest {
                Some(bid) => bid.amount.saturating_add(self.lot.min_step),
                None => self.lot.start_price,
            }
        }
    }

    /// `None` until the Worker opens the auction.
    #[derive(Default)]
    pub struct State {
        pub sale: Option<Sale>,
    }

    /// The data of a peer; `on_upgrade` fills it in from the token.
    pub struct Connection {
        pub role: Role,
    }

    impl Connection {
        /// The initial data from the Worker; the room replaces it.
        pub fn unknown() -> Self {
            Connection { role: Role::Spectator }
        }
    }

    pub struct Services {
        pub signer: Signer,
    }

    pub enum Event {
        /// Opens the auction; only the Worker may send it.
        Open { lot: Lot, duration_ms: u64 },
        /// A bid. `request` is the client's number of the bid; the answer contains it.
        Bid { amount: u64, request: u32 },
    }

    #[data]
    pub enum Why {
        TooLow { minimum: u64 },
        Over,
        OwnLot,
        SpectatorsMayNotBid,
        NotForPeers,
        AlreadyOpen,
        NoSuchAuction,
    }

    impl Why {
        /// The HTTP status for a client of the Worker.
        fn status(&self) -> StatusCode {
            match self {
                Why::TooLow { .. } => StatusCode::BAD_REQUEST,
                Why::OwnLot | Why::SpectatorsMayNotBid | Why::NotForPeers => StatusCode::FORBIDDEN,
                Why::NoSuchAuction => StatusCode::NOT_FOUND,
                Why::Over | Why::AlreadyOpen => StatusCode::CONFLICT,
            }
        }
    }

    /// A user who is present, or lost the connection a moment ago.
    #[data]
    pub struct Here {
        pub user: String,
        pub connections: usize,
        pub away: bool,
    }

    /// The public view of the auction: also the response to `GET /auctions/:id`.
    #[data]
    pub struct View {
        pub id: String,
        pub sale: Sale,
        pub minimum: u64,
        pub here: Vec<Here>,
    }

    /// A row of the history: also an entry of `GET /auctions/:id/bids`.
    #[data]
    pub struct HistoryRow {
        pub seq: u64,
        pub user: String,
        pub amount: u64,
        pub at_ms: u64,
    }

    pub enum Broadcast {
        // To one peer:
        Welcome { view: View, user: String, role: Role },
        Accepted { request: u32, amount: u64 },
        Refused { request: Option<u32>, why: Why },
        Outbid { amount: u64, minimum: u64 },
        Won { amount: u64 },
        // To all peers:
        HighestBid { bid: Bid, minimum: u64, ends_at_ms: u64, extended: bool },
        Ended { winner: Option<Bid> },
        Joined { user: String },
        Away { user: String },
        Back { user: String },
        Left { user: String },
    }

    pub enum Alarm {
        End,
        /// Reports the current state to the lobby.
        Report,
        Archive,
    }

    pub fn services(env: &worker::Env) -> Result<Services> {
        Ok(Services { signer: Signer::new(&env.secret("AUCTION_SECRET")?.to_string()).map_err(Failure::msg)? })
    }

    pub fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        if ctx.state()?.sale.is_none() {
            return Err(Reject::new(404, "no such auction"));
        }
        let token = upgrade.bearer()?;
        let claims = token
            .or(upgrade.query("token")?)
            .and_then(|token| ctx.services().signer.check(&token, ctx.now_ms()))
            .ok_or_else(|| Reject::new(401, "sign in").header("www-authenticate", "Bearer"))?;
        upgrade.id = claims.user.into();
        upgrade.tags = vec![format!("{:?}", claims.role).to_lowercase()];
        upgrade.data = Connection { role: claims.role };
        upgrade.on_resume = OnResume::ReplaceData;
        Ok(())
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        welcome(ctx, peer)?;
        if ctx.peers().with_id(peer.id()).len() == 1 {
            ctx.peers().except(peer).send(&Broadcast::Joined { user: peer.id().to_string() })?;
        }
        Ok(())
    }

    pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        welcome(ctx, peer)?;
        ctx.peers().except(peer).send(&Broadcast::Back { user: peer.id().to_string() })?;
        Ok(())
    }

    pub fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        if ctx.peers().with_id(peer.id()).is_empty() {
            ctx.broadcast(&Broadcast::Away { user: peer.id().to_string() })?;
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _close: Close) -> Result {
        if !ctx.presence()?.iter().any(|user| user.id == *peer.id()) {
            ctx.broadcast(&Broadcast::Left { user: peer.id().to_string() })?;
        }
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Open { lot, duration_ms } => open(ctx, lot, duration_ms),
            Event::Bid { amount, request } => bid(ctx, amount, request),
        }
    }

    fn open(ctx: &Ctx, lot: Lot, duration_ms: u64) -> Result {
        if ctx.sender().is_some() {
            return refuse(ctx, None, Why::NotForPeers);
        }
        if ctx.state()?.sale.is_some() {
            return refuse(ctx, None, Why::AlreadyOpen);
        }
        ctx.sql().exec(
            "create table if not exists bids (seq integer primary key, user text not null, amount integer not null, at_ms integer not null)",
            (),
        )?;
        let ends_at_ms = ctx.now_ms() + duration_ms;
        ctx.update(|state| {
            state.sale = Some(Sale { lot, ends_at_ms, highest: None, bids: 0, ended: false, version: 1 });
        })?;
        ctx.schedule(Alarm::End).key("end").at(ends_at_ms)?;
        report(ctx)
    }

    fn bid(ctx: &Ctx, amount: u64, request: u32) -> Result {
        let Some(peer) = ctx.sender() else {
            return refuse(ctx, Some(request), Why::NotForPeers);
        };
        let state = ctx.state()?;
        let Some(sale) = &state.sale else {
            return refuse(ctx, Some(request), Why::NoSuchAuction);
        };
        let (user, now) = (peer.id().to_string(), ctx.now_ms());
        let why = if peer.data().role == Role::Spectator {
            Some(Why::SpectatorsMayNotBid)
        } else if sale.ended || now >= sale.ends_at_ms {
            Some(Why::Over)
        } else if sale.lot.seller == user {
            Some(Why::OwnLot)
        } else if amount < sale.minimum() {
            Some(Why::TooLow { minimum: sale.minimum() })
        } else {
            None
        };
        if let Some(why) = why {
            return refuse(ctx, Some(request), why);
        }

        // If the state could not be stored, its row remains. That is harmless: the state's count decides which rows
        // count, and the next bid overwrites the row.
        let seq = sale.bids + 1;
        ctx.sql().exec(
            "insert or replace into bids (seq, user, amount, at_ms) values (?, ?, ?, ?)",
            (seq, user.as_str(), amount, now),
        )?;
        let extended = sale.ends_at_ms - now <= EXTENSION_MS && now + EXTENSION_MS > sale.ends_at_ms;
        let ends_at_ms = if extended { now + EXTENSION_MS } else { sale.ends_at_ms };
        let bid = Bid { user, amount, at_ms: now };
        let minimum = ctx.update(|state| {
            let sale = state.sale.as_mut().expect("it was just there");
            sale.highest = Some(bid.clone());
            sale.bids = seq;
            sale.ends_at_ms = ends_at_ms;
            sale.version += 1;
            sale.minimum()
        })?;
        if extended {
            ctx.schedule(Alarm::End).key("end").at(ends_at_ms)?;
        }
        peer.send(&Broadcast::Accepted { request, amount })?;
        if let Some(before) = &sale.highest
            && before.user != bid.user
        {
            ctx.peers().with_id(&before.user).send(&Broadcast::Outbid { amount, minimum })?;
        }
        ctx.broadcast(&Broadcast::HighestBid { bid, minimum, ends_at_ms, extended })?;
        report(ctx)
    }

    pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        match alarm {
            Alarm::End => end(ctx),
            Alarm::Report => {
                let state = ctx.state()?;
                if let Some(sale) = &state.sale {
                    let entry = lobby::Entry {
                        title: sale.lot.title.clone(),
                        price: sale.highest.as_ref().map_or(sale.lot.start_price, |bid| bid.amount),
                        bids: sale.bids,
                        ends_at_ms: sale.ends_at_ms,
                        ended: sale.ended,
                        version: sale.version,
                    };
                    let report = lobby::Event::Report { id: ctx.id().to_string(), entry };
                    ctx.room::<lobby::Room>(lobby::THE_ONE)?.send(&report).await?;
                }
                Ok(())
            }
            Alarm::Archive => ctx.purge(),
        }
    }

    fn end(ctx: &Ctx) -> Result {
        let state = ctx.state()?;
        let Some(sale) = state.sale.as_ref().filter(|sale| !sale.ended) else {
            return Ok(());
        };
        if ctx.now_ms() < sale.ends_at_ms {
            ctx.schedule(Alarm::End).key("end").at(sale.ends_at_ms)?;
            return Ok(());
        }
        ctx.update(|state| {
            if let Some(sale) = &mut state.sale {
                sale.ended = true;
                sale.version += 1;
            }
        })?;
        ctx.schedule(Alarm::Archive).key("archive").after(ARCHIVE)?;
        report(ctx)?;
        if let Some(winner) = &sale.highest {
            ctx.peers().with_id(&winner.user).send(&Broadcast::Won { amount: winner.amount })?;
        }
        ctx.broadcast(&Broadcast::Ended { winner: sale.highest.clone() })?;
        Ok(())
    }

    pub fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let Some(view) = view(ctx)? else {
            return Err(ctx.refuse("no such auction").with_status(StatusCode::NOT_FOUND));
        };
        match Route::of(request.method().as_str(), request.uri().path()) {
            Route::Auction(_) => Json(view).into_response(StatusCode::OK),
            Route::Bids(_) => {
                let number = |name| match room_runtime::query(request.uri(), name) {
                    Some(text) => text.parse::<u64>().map(Some).map_err(|_| ()),
                    None => Ok(None),
                };
                let (Ok(after), Ok(limit)) = (number("after"), number("limit")) else {
                    return Err(ctx.refuse("`after` and `limit` are numbers").with_status(StatusCode::BAD_REQUEST));
                };
                let rows: Vec<HistoryRow> = ctx.sql().query(
                    "select seq, user, amount, at_ms from bids where seq > ? and seq <= ? order by seq limit ?",
                    (after.unwrap_or(0), view.sale.bids, limit.unwrap_or(PAGE).min(PAGE)),
                )?;
                Json(rows).into_response(StatusCode::OK)
            }
            _ => Err(ctx.refuse("no such page").with_status(StatusCode::NOT_FOUND)),
        }
    }

    fn refuse(ctx: &Ctx, request: Option<u32>, why: Why) -> Result {
        let status = why.status();
        Err(ctx.refuse_with(&Broadcast::Refused { request, why }).with_status(status))
    }

    fn report(ctx: &Ctx) -> Result {
        ctx.schedule(Alarm::Report).key("report").after(Duration::ZERO)?;
        Ok(())
    }

    fn view(ctx: &Ctx) -> Result<Option<View>> {
        let state = ctx.state()?;
        let Some(sale) = &state.sale else {
            return Ok(None);
        };
        let mut here: Vec<Here> = ctx
            .presence()?
            .into_iter()
            .map(|user| Here {
                user: user.id.to_string(),
                connections: user.peers.len(),
                away: user.away_since.is_some(),
            })
            .collect();
        here.sort_by(|one, other| one.user.cmp(&other.user));
        Ok(Some(View { id: ctx.id().to_string(), sale: sale.clone(), minimum: sale.minimum(), here }))
    }

    fn welcome(ctx: &Ctx, peer: &Peer) -> Result {
        if let Some(view) = view(ctx)? {
            peer.send(&Broadcast::Welcome { view, user: peer.id().to_string(), role: peer.data().role })?;
        }
        Ok(())
    }
}
