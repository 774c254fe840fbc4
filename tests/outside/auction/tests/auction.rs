//! Tests of the auction house in memory: no Worker, no waiting.

use std::time::Duration;

use auction_house::{
    api::{self, ApiError, NewAuction, Route},
    auction::{self, Bid, Broadcast, Here, HistoryRow, View, Why},
    lobby,
    token::{Claims, Role, Signer},
};
use room_runtime::{
    ErrorKind, Upgrade, http, serde_json,
    testing::{Refusal, TestPeer, TestRoom, World},
};

const SECRET: &str = "a secret for the tests";

struct House {
    world: World,
    auction: TestRoom<auction::Room>,
    lobby: TestRoom<lobby::Room>,
}

fn signer() -> Signer {
    Signer::new(SECRET).expect("a good secret")
}

fn claims(user: &str, role: Role) -> Claims {
    Claims { user: user.to_owned(), role, expires: 4_000_000_000 }
}

fn lamp() -> NewAuction {
    NewAuction {
        title: "A lamp".to_owned(),
        description: String::new(),
        start_price: 1_000,
        min_step: 100,
        duration_seconds: 60,
    }
}

/// A house with one open auction, `lamp`, of `sally`.
fn house() -> House {
    let house = empty_house(World::new());
    let created = house.create("sally", Role::Seller, lamp()).expect("created");
    assert_eq!(created, "lamp");
    house.settle();
    house
}

fn empty_house(world: World) -> House {
    world.provide::<auction::Room>(|| Ok(auction::Services { signer: signer() }));
    let auction = world.room("lamp");
    let lobby = world.room(lobby::THE_ONE);
    House { world, auction, lobby }
}

impl House {
    fn create(&self, user: &str, role: Role, new: NewAuction) -> Result<String, ApiError> {
        let auctions = self.world.client();
        let claims = claims(user, role);
        self.world.block_on(api::create(&auctions, &claims, new, "lamp".to_owned())).map(|created| created.id)
    }

    fn try_join(&self, token: &str, resume: Option<String>) -> Result<TestPeer<auction::Room>, Refusal> {
        let request = http::Request::get(format!("https://house.example/auctions/lamp/ws?token={token}")).body(());
        let mut upgrade = Upgrade::new(auction::Connection::unknown());
        if let Some(resume) = resume {
            upgrade = upgrade.resume(resume);
        }
        self.auction.try_connect_with(request.expect("a request"), upgrade)
    }

    fn join(&self, user: &str, role: Role) -> TestPeer<auction::Room> {
        let peer = self.try_join(&signer().sign(&claims(user, role)), None).expect("admitted");
        let Some(Broadcast::Welcome { user: told, .. }) = peer.receive() else { panic!("no welcome") };
        assert_eq!(told, user);
        peer
    }

    /// Runs the alarms that are due now: reports to the lobby.
    fn settle(&self) {
        self.world.advance(Duration::ZERO);
    }

    fn watch(&self) -> TestPeer<lobby::Room> {
        self.lobby.connect(Upgrade::new(lobby::Connection {}))
    }

    fn get(&self, path: &str) -> (u16, String) {
        let request = http::Request::get(format!("https://house.example{path}")).body("").expect("a request");
        let response = self.auction.request(request).expect("an answer");
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).expect("text"))
    }

    fn view(&self) -> View {
        let (status, body) = self.get("/auctions/lamp");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("a view")
    }

    fn history(&self, query: &str) -> Vec<(u64, String, u64)> {
        let (status, body) = self.get(&format!("/auctions/lamp/bids{query}"));
        assert_eq!(status, 200, "{body}");
        let rows: Vec<HistoryRow> = serde_json::from_str(&body).expect("rows");
        rows.into_iter().map(|row| (row.seq, row.user, row.amount)).collect()
    }
}

fn bid(amount: u64) -> auction::Event {
    auction::Event::Bid { amount, request: 7 }
}

fn refused(why: Why) -> Broadcast {
    Broadcast::Refused { request: Some(7), why }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Bidding

#[test]
fn a_bid_is_accepted_broadcast_and_stored() {
    let house = house();
    let (alice, bob) = (house.join("alice", Role::Bidder), house.join("bob", Role::Bidder));
    assert_eq!(alice.received(), [Broadcast::Joined { user: "bob".to_owned() }]);

    alice.send(&bid(1_000));
    let at_ms = house.world.now_ms();
    let bid_of_alice = Bid { user: "alice".to_owned(), amount: 1_000, at_ms };
    let told = Broadcast::HighestBid {
        bid: bid_of_alice.clone(),
        minimum: 1_100,
        ends_at_ms: house.view().sale.ends_at_ms,
        extended: false,
    };
    assert_eq!(alice.received(), [Broadcast::Accepted { request: 7, amount: 1_000 }, told.clone()]);
    assert_eq!(bob.received(), [told]);

    bob.send(&bid(1_100));
    assert_eq!(alice.receive(), Some(Broadcast::Outbid { amount: 1_100, minimum: 1_200 }));
    // A bidder who raises the own bid is not outbid.
    bob.send(&bid(1_300));
    assert!(!bob.received().iter().any(|message| matches!(message, Broadcast::Outbid { .. })));

    let all = [(1, "alice".to_owned(), 1_000), (2, "bob".to_owned(), 1_100), (3, "bob".to_owned(), 1_300)];
    assert_eq!(house.history(""), all);
    assert_eq!(house.history("?after=1&limit=1"), all[1..2]);
    assert_eq!(house.get("/auctions/lamp/bids?limit=many").0, 400);
    house.world.assert_no_errors();
}

#[test]
fn a_bid_that_is_none_is_refused_and_no_error() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    let sally = house.join("sally", Role::Seller);
    let simon = house.join("simon", Role::Seller);
    let spectator = house.join("steve", Role::Spectator);
    alice.received();

    alice.send(&bid(999));
    assert_eq!(alice.received(), [refused(Why::TooLow { minimum: 1_000 })]);
    let _ = (sally.received(), simon.received());
    sally.send(&bid(2_000));
    assert_eq!(sally.received(), [refused(Why::OwnLot)]);
    spectator.send(&bid(2_000));
    assert_eq!(spectator.received(), [refused(Why::SpectatorsMayNotBid)]);
    // Another seller may bid.
    simon.send(&bid(2_000));
    assert_eq!(simon.receive(), Some(Broadcast::Accepted { request: 7, amount: 2_000 }));
    // A peer may not open auctions.
    let lot = house.view().sale.lot;
    sally.received();
    sally.send(&auction::Event::Open { lot, duration_ms: 1 });
    assert_eq!(sally.received(), [Broadcast::Refused { request: None, why: Why::NotForPeers }]);

    house.auction.advance(seconds(60));
    alice.received();
    alice.send(&bid(5_000));
    assert_eq!(alice.received(), [refused(Why::Over)]);
    assert_eq!(house.history("").len(), 1);
    house.world.assert_no_errors();
}

#[test]
fn an_invalid_frame_is_reported_and_affects_no_other_peer() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    alice.send_raw(r#"{"type": "Bid", "amount": -5, "request": 7}"#);
    assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Decode));
    alice.send(&bid(1_000));
    assert_eq!(alice.receive(), Some(Broadcast::Accepted { request: 7, amount: 1_000 }));
    for _ in 0..10 {
        alice.send(&bid(1));
    }
    let mut errors = std::iter::from_fn(|| alice.receive_error());
    assert!(errors.any(|error| error.kind() == ErrorKind::RateLimited));
}

// Time

#[test]
fn it_ends_in_time() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    alice.send(&bid(1_000));
    alice.received();
    let left = house.view().sale.ends_at_ms - house.world.now_ms();
    house.auction.advance(Duration::from_millis(left - 1));
    assert_eq!(alice.received(), []);
    house.auction.advance(Duration::from_millis(1));
    let [Broadcast::Won { amount: 1_000 }, Broadcast::Ended { winner: Some(winner) }] = &alice.received()[..] else {
        panic!("not ended")
    };
    assert_eq!(winner.user, "alice");
    assert!(house.view().sale.ended);
}

#[test]
fn a_late_bid_extends_it() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    house.auction.advance(seconds(49));
    alice.send(&bid(1_000)); // 11 s before the end
    alice.received();
    house.auction.advance(seconds(6));
    alice.send(&bid(1_100)); // 5 s before the end
    let extended = alice.received();
    assert!(matches!(extended[1], Broadcast::HighestBid { extended: true, .. }), "{extended:?}");
    house.auction.advance(Duration::from_millis(9_999));
    assert!(!house.view().sale.ended);
    house.auction.advance(Duration::from_millis(1));
    assert!(house.view().sale.ended);
    house.world.assert_no_errors();
}

#[test]
fn an_end_that_is_early_is_set_again() {
    let house = house();
    while house.auction.fire_alarm().expect("fired")
        && house
            .auction
            .state()
            .is_ok_and(|state| state.and_then(|state| state.sale).is_some_and(|sale| sale.version > 1))
    {}
    assert!(!house.view().sale.ended);
    house.auction.advance(seconds(60));
    assert!(house.view().sale.ended);
}

#[test]
fn it_is_archived_after_a_while() {
    let house = house();
    house.auction.advance(seconds(60) + auction::ARCHIVE);
    assert_eq!(house.get("/auctions/lamp").0, 404);
    house.world.assert_no_errors();
}

// Presence

#[test]
fn tokens_decide() {
    let house = house();
    let status = |token: &str| house.try_join(token, None).expect_err("refused").status();
    assert_eq!(status(""), Some(401));
    let good = signer().sign(&claims("alice", Role::Bidder));
    assert_eq!(status(&format!("{good}x")), Some(401));
    let forged = Signer::new("another secret, as long").expect("good").sign(&claims("alice", Role::Bidder));
    assert_eq!(status(&forged), Some(401));
    let old = signer().sign(&Claims { expires: house.world.now_ms() / 1_000, ..claims("alice", Role::Bidder) });
    assert_eq!(status(&old), Some(401));

    let request = http::Request::get("https://house.example/auctions/lamp/ws")
        .header("sec-websocket-protocol", format!("bearer, {good}"))
        .body(())
        .expect("a request");
    let alice =
        house.auction.try_connect_with(request, Upgrade::new(auction::Connection::unknown())).expect("admitted");
    assert_eq!(alice.protocol().as_deref(), Some("bearer"));
    assert_eq!((alice.id().as_str(), alice.tags()), ("alice", &["bidder".to_owned()][..]));
    house.world.assert_no_errors();
}

#[test]
fn an_auction_that_is_not_open_admits_no_peer() {
    let house = empty_house(World::new());
    let token = signer().sign(&claims("alice", Role::Bidder));
    assert_eq!(house.try_join(&token, None).expect_err("refused").status(), Some(404));
    assert_eq!(house.get("/auctions/lamp").0, 404);
    assert_eq!(house.get("/auctions/lamp/bids").0, 404);
    // Requests with guessed ids leave nothing in storage.
    assert_eq!(house.auction.stored_state(), None);
}

#[test]
fn presence_counts_users() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    let bob = house.join("bob", Role::Bidder);
    let second = house.join("bob", Role::Bidder);
    assert_eq!(alice.received(), [Broadcast::Joined { user: "bob".to_owned() }]);
    let here = |user: &str, connections| Here { user: user.to_owned(), connections, away: false };
    assert_eq!(house.view().here, [here("alice", 1), here("bob", 2)]);
    second.close();
    assert_eq!(alice.received(), []);
    bob.close();
    assert_eq!(alice.received(), [Broadcast::Left { user: "bob".to_owned() }]);
    assert_eq!(house.view().here, [here("alice", 1)]);
}

#[test]
fn a_bidder_can_resume_within_the_grace() {
    let house = house();
    let (alice, bob) = (house.join("alice", Role::Bidder), house.join("bob", Role::Bidder));
    alice.send(&bid(1_000));
    let _ = (alice.received(), bob.received());
    let resume = alice.resume_token();
    assert!(resume.is_some());
    alice.disconnect();
    assert_eq!(bob.received(), [Broadcast::Away { user: "alice".to_owned() }]);
    assert_eq!(house.view().here[0], Here { user: "alice".to_owned(), connections: 0, away: true });
    bob.send(&bid(1_100));
    bob.received();

    house.auction.advance(seconds(20));
    let token = signer().sign(&claims("alice", Role::Bidder));
    let alice = house.try_join(&token, resume.clone()).expect("back");
    let Some(Broadcast::Welcome { view, .. }) = alice.receive() else { panic!("no welcome") };
    assert_eq!(view.sale.highest.map(|bid| bid.user), Some("bob".to_owned()));
    assert_eq!(bob.received(), [Broadcast::Back { user: "alice".to_owned() }]);

    // With another user's resume token, a client connects as a new peer.
    let mallory = house.try_join(&signer().sign(&claims("mallory", Role::Spectator)), resume).expect("admitted");
    assert_eq!(mallory.id().as_str(), "mallory");
    bob.received();
    alice.disconnect();
    bob.received();
    house.auction.advance(seconds(30));
    assert!(bob.received().contains(&Broadcast::Left { user: "alice".to_owned() }));
    house.world.assert_no_errors();
}

#[test]
fn a_changed_role_applies_after_a_resume() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    let resume = alice.resume_token();
    alice.disconnect();
    let alice = house.try_join(&signer().sign(&claims("alice", Role::Spectator)), resume).expect("back");
    alice.received();
    alice.send(&bid(1_000));
    assert_eq!(alice.received(), [refused(Why::SpectatorsMayNotBid)]);
}

#[test]
fn a_bidder_can_resume_into_a_full_room() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    let crowd: Vec<_> = (0..999).map(|n| house.join(&format!("user {n}"), Role::Spectator)).collect();
    let token = |user| signer().sign(&claims(user, Role::Bidder));
    assert_eq!(house.try_join(&token("bob"), None).expect_err("full").status(), Some(503));
    let resume = alice.resume_token();
    alice.disconnect();
    assert_eq!(house.try_join(&token("bob"), None).expect_err("full").status(), Some(503));
    house.try_join(&token("alice"), resume).expect("back");
    drop(crowd);
}

// Failures

#[test]
fn sleep_and_crash_and_restart_lose_no_bid() {
    let house = house();
    let (alice, bob) = (house.join("alice", Role::Bidder), house.join("bob", Role::Bidder));
    alice.send(&bid(1_000));
    house.auction.hibernate();
    assert!(!house.auction.is_in_memory());
    bob.send(&bid(1_100));
    house.auction.crash();
    alice.send(&bid(1_200));
    assert_eq!(house.history("").len(), 3);
    house.auction.restart();
    assert!(!alice.is_open());
    // Both have lost their connections, and keep their places.
    assert!(house.view().here.iter().all(|user| user.away), "{:?}", house.view().here);
    house.auction.advance(seconds(60));
    assert!(house.view().sale.ended);
    assert_eq!(house.view().sale.highest.map(|bid| bid.amount), Some(1_200));
    assert_eq!(house.view().here, []);
    house.world.assert_no_errors();
}

#[test]
fn a_crash_just_after_a_bid_counts_it_once() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    house.world.together(|| {
        alice.send(&bid(1_000));
        house.auction.crash();
    });
    house.settle();
    assert_eq!(alice.receive_error().map(|error| error.kind()), None);
    assert_eq!(house.history("").len(), 1);
    house.world.assert_no_errors();
}

#[test]
fn a_bid_that_cannot_be_stored_is_no_bid() {
    let house = house();
    let alice = house.join("alice", Role::Bidder);
    house.auction.fail_writes(true);
    alice.send(&bid(1_000));
    assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Handler));
    assert_eq!(alice.received(), []);
    house.auction.fail_writes(false);
    assert_eq!(house.view().sale.highest, None);
    assert_eq!(house.history(""), []);
    assert!(!house.auction.take_log().is_empty());
}

// The lobby

#[test]
fn the_lobby_sees_it_live() {
    let house = house();
    let watcher = house.watch();
    let Some(lobby::Broadcast::List { auctions }) = watcher.receive() else { panic!("no list") };
    assert_eq!(auctions["lamp"].price, 1_000);
    let alice = house.join("alice", Role::Bidder);
    alice.send(&bid(1_500));
    house.settle();
    let changed = watcher.received();
    assert!(matches!(&changed[..], [lobby::Broadcast::Changed { entry, .. }] if entry.price == 1_500), "{changed:?}");
    house.auction.advance(seconds(60));
    assert!(matches!(&watcher.received()[..], [lobby::Broadcast::Ended { entry, .. }] if entry.bids == 1));
    house.lobby.advance(lobby::SHOWN + seconds(1));
    assert_eq!(watcher.received(), [lobby::Broadcast::Removed { id: "lamp".to_owned() }]);
    house.world.assert_no_errors();
}

#[test]
fn a_report_to_a_failing_lobby_is_retried_and_the_bid_stands() {
    let house = house();
    let watcher = house.watch();
    watcher.received();
    let alice = house.join("alice", Role::Bidder);
    house.lobby.fail_writes(true);
    alice.send(&bid(1_000));
    assert_eq!(alice.receive(), Some(Broadcast::Accepted { request: 7, amount: 1_000 }));
    alice.send(&bid(1_200));
    assert_eq!(watcher.received(), []);
    house.lobby.fail_writes(false);
    house.world.advance(seconds(10));
    let told = watcher.received();
    assert!(matches!(told.last(), Some(lobby::Broadcast::Changed { entry, .. }) if entry.price == 1_200), "{told:?}");
    let _ = (house.auction.take_log(), house.lobby.take_log());
}

#[test]
fn events_of_peers_are_refused_by_the_lobby() {
    let house = house();
    let watcher = house.watch();
    let Some(lobby::Broadcast::List { auctions }) = watcher.receive() else { panic!("no list") };
    watcher.send(&lobby::Event::Report { id: "fake".to_owned(), entry: auctions["lamp"].clone() });
    assert_eq!(watcher.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
    assert_eq!(house.lobby.state().expect("a state").expect("one").auctions.len(), 1);
    house.world.assert_no_errors();
}

#[test]
fn reports_come_in_the_right_order_whatever_runs_first() {
    for seed in 0..50 {
        let house = empty_house(World::with_seed(seed));
        house.create("sally", Role::Seller, lamp()).expect("created");
        house.settle();
        let watcher = house.watch();
        let bidders: Vec<_> = ["alice", "bob", "carol"].map(|user| house.join(user, Role::Bidder)).into();
        watcher.received();
        house.world.together(|| {
            for (n, bidder) in bidders.iter().enumerate() {
                for step in 1..4 {
                    bidder.send(&bid(1_000 + 500 * step + 100 * n as u64));
                }
            }
        });
        house.world.advance(seconds(1));
        let highest = house.view().sale.highest.expect("a bid").amount;
        let told = watcher.received();
        let prices: Vec<u64> = told
            .iter()
            .map(|message| match message {
                lobby::Broadcast::Changed { entry, .. } => entry.price,
                other => panic!("seed {seed}: {other:?}"),
            })
            .collect();
        assert!(prices.is_sorted(), "seed {seed}: {prices:?}");
        assert_eq!(prices.last(), Some(&highest), "seed {seed}");
        house.world.assert_no_errors();
    }
}

// The Worker

#[test]
fn only_sellers_create_and_only_once() {
    let house = empty_house(World::new());
    assert!(matches!(house.create("alice", Role::Bidder, lamp()), Err(ApiError::Forbidden(_))));
    let short = NewAuction { duration_seconds: 1, ..lamp() };
    assert!(matches!(house.create("sally", Role::Seller, short), Err(ApiError::BadRequest(_))));
    house.create("sally", Role::Seller, lamp()).expect("created");
    // The same call again: the idempotency key returns the stored answer.
    house.create("sally", Role::Seller, lamp()).expect("created once");
    // Without the key it is a conflict.
    let open = auction::Event::Open { lot: house.view().sale.lot, duration_ms: 1 };
    let error = house.auction.send(&open).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.status(), http::StatusCode::CONFLICT);
    house.world.assert_no_errors();
}

#[test]
fn a_room_that_fails_is_a_500_and_one_that_is_not_there_is_retried() {
    let house = empty_house(World::new());
    house.auction.fail_writes(true);
    let error = house.create("sally", Role::Seller, lamp()).expect_err("not stored");
    let ApiError::Room(error) = error else { panic!("{error:?}") };
    assert_eq!(error.status().as_u16(), 500);
    house.auction.take_log();
}

#[test]
fn without_its_secret_a_room_says_so() {
    let world = World::new();
    world.provide::<auction::Room>(|| Err(room_runtime::Failure::msg("AUCTION_SECRET is not set")));
    let auction: TestRoom<auction::Room> = world.room("lamp");
    let error = auction.state().expect_err("no services");
    assert_eq!(error.kind(), ErrorKind::Services);
    auction.take_log();
}

#[test]
fn routes() {
    assert_eq!(Route::of("POST", "/auctions"), Route::Create);
    assert_eq!(Route::of("GET", "/auctions/"), Route::List);
    assert_eq!(Route::of("GET", "/auctions/lamp"), Route::Auction("lamp"));
    assert_eq!(Route::of("GET", "/auctions/lamp/bids"), Route::Bids("lamp"));
    assert_eq!(Route::of("GET", "/auctions/lamp/ws"), Route::AuctionSocket("lamp"));
    assert_eq!(Route::of("GET", "/lobby/ws"), Route::LobbySocket);
    assert_eq!(Route::of("DELETE", "/auctions/lamp"), Route::WrongMethod);
    assert_eq!(Route::of("GET", "/auctions/lamp/bids/1/2"), Route::Nothing);
    assert_eq!(Route::of("GET", "/"), Route::Nothing);
}
