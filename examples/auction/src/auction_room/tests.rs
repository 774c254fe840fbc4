//! The auction and the lobby in memory: virtual time, hibernation, crashes, restarts.

use std::{collections::BTreeMap, time::Duration};

use room_runtime::{
    prelude::*,
    testing::{TestPeer, TestRoom, World},
};

use super::auction::*;
use crate::{
    lobby_room::lobby,
    sale::{BidError, EXTENSION_MS, Lot, OpenError, Phase, User},
};

const MINUTE: Duration = Duration::from_secs(60);

fn user(id: &str) -> User {
    User { id: id.to_owned(), name: id.to_uppercase() }
}

fn lamp() -> Lot {
    let (title, description) = ("A brass lamp".to_owned(), "It works.".to_owned());
    Lot { title, description, start_price: 1_000, duration_s: 60, delay_s: 0 }
}

/// An auction of a lamp by Sally, and the lobby.
struct House {
    world: World,
    auction: TestRoom<Room>,
    lobby: TestRoom<lobby::Room>,
}

impl House {
    fn new() -> Self {
        House::of(World::new(), lamp())
    }

    fn of(world: World, lot: Lot) -> Self {
        let (auction, lobby) = (world.room("lamp"), world.room(lobby::ID));
        auction.open(lot, user("sally")).expect("opened");
        House { world, auction, lobby }
    }

    fn join(&self, id: &str) -> TestPeer<Room> {
        self.auction.connect(Upgrade::new(Connection { user: Some(user(id)) }).id(id).tag(BIDDER))
    }

    fn look_on(&self) -> TestPeer<Room> {
        self.auction.connect(Upgrade::new(Connection { user: None }).tag(SPECTATOR))
    }

    fn after(&self, seconds: u64) {
        self.world.advance(Duration::from_secs(seconds));
    }

    /// Advances the time to the last millisecond before this one. The answer to a peer's call waits for the next batch, so
    /// calls take time.
    fn before(&self, at_ms: u64) {
        self.world.advance(Duration::from_millis(at_ms - 1 - self.world.now_ms()));
    }

    fn heard(&self, peer: &TestPeer<Room>) -> Vec<Broadcast> {
        heard(&self.world, peer)
    }

    fn standing(&self) -> Standing {
        self.auction.info().expect("an auction").standing
    }

    /// The history, oldest first: user, amount, automatic.
    fn bids(&self) -> Vec<(String, u64, bool)> {
        let mut bids = self.auction.history(None).expect("a history");
        bids.reverse();
        bids.into_iter().map(|bid| (bid.user_id, bid.amount, bid.is_automatic)).collect()
    }

    fn listings(&self) -> Vec<lobby::Listing> {
        use lobby::Calls as _;
        self.lobby.list().expect("a list")
    }
}

/// The messages that a peer has got, also those that wait for the next batch.
fn heard<R: room_runtime::Room>(world: &World, peer: &TestPeer<R>) -> Vec<R::Broadcast> {
    world.advance(Duration::from_millis(50));
    peer.received()
}

fn own(error: CallError<BidError>) -> BidError {
    match error {
        CallError::Returned(error) => error,
        other => panic!("{other}"),
    }
}

fn view(heard: &[Broadcast]) -> &View {
    let views = heard.iter().filter_map(|message| match message {
        Broadcast::Snapshot { view } => Some(view),
        _ => None,
    });
    let views: Vec<_> = views.collect();
    assert_eq!(views.len(), 1, "one snapshot in {heard:#?}");
    views[0]
}

fn is_private(message: &Broadcast) -> bool {
    matches!(message, Broadcast::Outbid { .. } | Broadcast::Maximum { .. } | Broadcast::Won { .. })
}

fn private(heard: Vec<Broadcast>) -> Vec<Broadcast> {
    heard.into_iter().filter(is_private).collect()
}

fn closings(heard: &[Broadcast]) -> usize {
    heard.iter().filter(|message| matches!(message, Broadcast::Closed { .. })).count()
}

// Opening

#[test]
fn an_auction_that_nobody_opened_admits_nobody_and_stores_nothing() {
    let room = TestRoom::<Room>::new("lamp");
    let refusal = room.try_connect(Upgrade::new(Connection { user: Some(user("ada")) }).id("ada"));
    assert_eq!(refusal.expect_err("refused").status(), Some(404));
    assert_eq!(room.info().expect_err("none").status(), http::StatusCode::NOT_FOUND);
    assert_eq!(room.history(None).expect_err("none").status(), http::StatusCode::NOT_FOUND);
    assert_eq!(room.stored_state(), None);
    let tables = "select name from sqlite_master where name in ('users', 'bids')";
    assert_eq!(room.query::<String>(tables, ()).expect("a query"), Vec::<String>::new());
}

#[test]
fn an_auction_is_opened_once_and_only_with_a_good_lot() {
    let room = TestRoom::<Room>::new("lamp");
    let open = |lot| match room.open(lot, user("sally")) {
        Err(CallError::Returned(error)) => Err(error),
        other => {
            other.expect("opened");
            Ok(())
        }
    };
    let short = Lot { duration_s: 1, ..lamp() };
    assert!(matches!(open(short), Err(OpenError::Duration { least_s: 15, .. })));
    assert_eq!(room.stored_state(), None);
    assert_eq!(open(lamp()), Ok(()));
    assert_eq!(open(lamp()), Err(OpenError::AlreadyOpen));
    room.assert_no_errors();
}

#[test]
fn the_bidding_begins_when_it_is_due() {
    let house = House::of(World::new(), Lot { delay_s: 30, ..lamp() });
    let ada = house.join("ada");
    let opens_at_ms = view(&house.heard(&ada)).standing.opens_at_ms;
    assert_eq!(house.standing().phase, Phase::Upcoming);
    assert_eq!(ada.bid(1_000).map_err(own), Err(BidError::NotStarted { opens_at_ms }));
    house.auction.hibernate();
    house.after(30);
    let heard = house.heard(&ada);
    assert!(matches!(&heard[..], [Broadcast::Opened { standing }] if standing.phase == Phase::Running), "{heard:?}");
    assert!(ada.bid(1_000).is_ok());
    assert_eq!(house.listings()[0].phase, Phase::Running);
}

// Bidding

#[test]
fn a_bid_is_answered_announced_and_stored() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    house.heard(&ada);
    house.heard(&bob);

    assert_eq!(ada.bid(1_000).map_err(own), Ok(Placed { is_leading: true, price: 1_000, least: 1_100 }));
    for peer in [&ada, &bob] {
        let heard = house.heard(peer);
        let Some(Broadcast::Bids { standing, bids, is_extended: false }) = heard.first() else { panic!("{heard:?}") };
        assert_eq!((standing.price, standing.least, standing.step), (1_000, 1_100, 100));
        assert_eq!((&standing.leader, standing.bids), (&Some(user("ada")), 1));
        let [Bid { seq: 1, amount: 1_000, is_automatic: false, name, .. }] = &bids[..] else { panic!("{bids:?}") };
        assert_eq!(name, "ADA");
    }
    assert_eq!(bob.bid(1_099).map_err(own), Err(BidError::TooLow { least: 1_100 }));
    assert_eq!(ada.bid(5_000).map_err(own), Err(BidError::OwnBid { price: 1_000 }));
    assert_eq!(house.join("sally").bid(5_000).map_err(own), Err(BidError::OwnLot));
    assert_eq!(house.look_on().bid(5_000).map_err(own), Err(BidError::SignIn));
    assert_eq!(house.auction.bid(5_000).map_err(own), Err(BidError::SignIn));
    assert!(matches!(bob.bid(u64::MAX).map_err(own), Err(BidError::TooHigh { .. })));
    assert_eq!(house.bids(), [("ada".to_owned(), 1_000, false)]);
    house.world.assert_no_errors();
}

#[test]
fn a_bid_that_is_sent_again_counts_once() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    // The call with the number 1, sent as a client does whose connection broke before the answer.
    for _ in 0..2 {
        ada.send_raw(r#"[1,"bid",{"amount":1000}]"#);
    }
    assert!(bob.bid(1_100).is_ok());
    ada.send_raw(r#"[1,"bid",{"amount":1000}]"#);
    assert_eq!(house.bids().len(), 2);
    house.world.assert_no_errors();
}

#[test]
fn private_messages_reach_only_their_user() {
    let house = House::new();
    let (ada, tab, bob, eve) = (house.join("ada"), house.join("ada"), house.join("bob"), house.look_on());
    let all = [&ada, &tab, &bob, &eve];
    let heard = || all.map(|peer| private(house.heard(peer)));
    heard();

    ada.set_maximum(3_000).expect("accepted");
    let maximum = vec![Broadcast::Maximum { amount: 3_000 }];
    assert_eq!(heard(), [maximum.clone(), maximum, vec![], vec![]]);

    assert_eq!(bob.bid(2_000).map_err(own), Ok(Placed { is_leading: false, price: 2_100, least: 2_200 }));
    let outbid = vec![Broadcast::Outbid { price: 2_100, least: 2_200 }];
    assert_eq!(heard(), [vec![], vec![], outbid, vec![]]);
    let bids = [("ada", 1_000, false), ("bob", 2_000, false), ("ada", 2_100, true)];
    assert_eq!(house.bids(), bids.map(|(id, amount, is_automatic)| (id.to_owned(), amount, is_automatic)));

    bob.set_maximum(9_000).expect("accepted");
    let outbid = vec![Broadcast::Outbid { price: 3_100, least: 3_200 }];
    assert_eq!(heard(), [outbid.clone(), outbid, vec![Broadcast::Maximum { amount: 9_000 }], vec![]]);

    house.after(60);
    assert_eq!(heard(), [vec![], vec![], vec![Broadcast::Won { price: 3_100 }], vec![]]);

    // The maximum of the leader is in no public answer.
    let public = serde_json::to_string(&house.auction.info().expect("an answer")).expect("JSON");
    assert!(!public.contains("9000") && !public.contains("maximum"), "{public}");
    for (peer, maximum) in [(house.join("bob"), Some(9_000)), (house.join("ada"), None), (house.look_on(), None)] {
        assert_eq!(view(&house.heard(&peer)).maximum, maximum);
    }
}

#[test]
fn a_bid_that_cannot_be_stored_leaves_no_trace() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    ada.bid(1_000).expect("accepted");
    house.heard(&ada);
    let before = house.standing();
    house.auction.fail_writes(true);
    assert!(matches!(bob.bid(1_100), Err(CallError::Failed(_))));
    house.auction.fail_writes(false);
    assert_eq!(house.standing().leader, before.leader);
    assert_eq!(house.bids(), [("ada".to_owned(), 1_000, false)]);
    let heard = house.heard(&ada);
    assert!(
        !heard.iter().any(|message| matches!(message, Broadcast::Bids { .. } | Broadcast::Outbid { .. })),
        "{heard:?}"
    );
    house.after(1);
    assert_eq!(house.listings()[0].price, 1_000);
}

#[test]
fn a_bid_is_stored_whole_or_not_at_all() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    ada.set_maximum(3_000).expect("accepted");
    // The next bid is two rows. This one is in the place of the second, which therefore fails.
    let obstacle =
        "insert into bids (seq, user_id, amount, at_ms, is_automatic) values (3, 'ada', 1, 1, 0) returning seq";
    assert_eq!(house.auction.query::<u64>(obstacle, ()).expect("a row"), [3]);
    house.heard(&bob);
    assert!(matches!(bob.bid(2_000), Err(CallError::Failed(_))));
    assert_eq!(house.auction.query::<u64>("select seq from bids order by seq", ()).expect("rows"), [1, 3]);
    let standing = house.standing();
    assert_eq!((standing.bids, standing.price), (1, 1_000));
    assert_eq!(house.heard(&bob), []);
    assert_eq!(house.listings()[0].price, 1_000);
}

#[test]
fn the_history_is_read_in_pages() {
    let house = House::of(World::new(), Lot { start_price: 1, ..lamp() });
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    for _ in 0..20 {
        for peer in [&ada, &bob] {
            let least = house.standing().least;
            peer.bid(least).expect("accepted");
            house.after(1);
        }
    }
    let seqs = |before| house.auction.history(before).expect("rows").iter().map(|bid| bid.seq).collect::<Vec<_>>();
    assert_eq!(seqs(None), (11..=40).rev().collect::<Vec<_>>());
    assert_eq!(seqs(Some(11)), (1..=10).rev().collect::<Vec<_>>());
    assert_eq!(seqs(Some(0)), Vec::<u64>::new());
    assert_eq!(seqs(Some(u64::MAX)).len(), 30);
    assert_eq!(ada.history(Some(2)).expect("rows").len(), 1);
}

// The countdown

#[test]
fn the_auction_closes_on_time_over_hibernation_crashes_and_restarts() {
    let disturbances: [fn(&TestRoom<Room>); 3] = [TestRoom::hibernate, TestRoom::crash, TestRoom::restart];
    for disturb in disturbances {
        let house = House::new();
        let (ada, ends_at_ms) = (house.join("ada"), house.standing().ends_at_ms);
        ada.bid(1_000).expect("accepted");
        house.after(30);
        disturb(&house.auction);
        house.before(ends_at_ms);
        assert_eq!(house.standing().phase, Phase::Running);
        house.world.advance(Duration::from_millis(1));
        let standing = house.standing();
        assert_eq!((standing.phase, standing.ends_at_ms, standing.price), (Phase::Sold, ends_at_ms, 1_000));
        assert_eq!(house.join("bob").bid(5_000).map_err(own), Err(BidError::Closed));
        assert_eq!(house.listings()[0].phase, Phase::Sold);
    }
}

#[test]
fn a_late_bid_extends_the_countdown_and_the_old_end_does_not_close() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    let end = house.standing().ends_at_ms;
    house.before(end);
    ada.bid(1_000).expect("accepted");
    let heard = house.heard(&bob);
    assert!(heard.iter().any(|message| matches!(message, Broadcast::Bids { is_extended: true, .. })), "{heard:?}");
    let extended = end - 1 + EXTENSION_MS;
    assert_eq!(house.standing().ends_at_ms, extended);
    house.auction.hibernate();

    // The old end passes.
    house.after(5);
    assert_eq!(house.standing().phase, Phase::Running);
    assert_eq!(house.listings()[0].ends_at_ms, extended);
    bob.bid(2_000).expect("accepted");
    house.auction.crash();
    let last = house.standing().ends_at_ms;
    assert!(last > extended);
    house.before(last);
    assert_eq!(house.standing().phase, Phase::Running);
    house.world.advance(Duration::from_millis(1));
    assert_eq!(house.standing().phase, Phase::Sold);
    assert_eq!(closings(&house.heard(&ada)), 1);
}

#[test]
fn a_lost_alarm_lets_no_bid_in_after_the_end() {
    let house = House::new();
    let ada = house.join("ada");
    house.auction.fail_writes(true);
    house.after(61);
    house.auction.fail_writes(false);
    // The alarm has failed and will be retried; the clock decides.
    assert_eq!(house.standing().phase, Phase::Running);
    assert_eq!(ada.bid(1_000).map_err(own), Err(BidError::Closed));
    house.after(60);
    assert_eq!(house.standing().phase, Phase::Unsold);
    let heard = house.heard(&ada);
    assert_eq!(closings(&heard), 1, "{} {:?} {heard:?}", ada.is_open(), ada.closed());
}

#[test]
fn messages_have_the_time_of_the_room() {
    let house = House::new();
    let ada = house.join("ada");
    house.after(7);
    let bid_at = house.world.now_ms();
    ada.bid(1_000).expect("accepted");
    let heard = house.heard(&ada);
    let times = heard.iter().filter_map(|message| match message {
        Broadcast::Snapshot { view } => Some(view.standing.now_ms),
        Broadcast::Bids { standing, .. } => Some(standing.now_ms),
        _ => None,
    });
    assert_eq!(times.collect::<Vec<_>>(), [bid_at - 7_000, bid_at]);
}

#[test]
fn an_old_auction_is_forgotten() {
    let house = House::new();
    let ada = house.join("ada");
    ada.bid(1_000).expect("accepted");
    house.after(61);
    house.world.advance(KEEP);
    assert!(!ada.is_open());
    assert_eq!(house.auction.info().expect_err("purged").status(), http::StatusCode::NOT_FOUND);
    assert_eq!(house.auction.stored_state(), None);
}

// Presence and lost connections

#[test]
fn a_user_is_present_once_however_many_tabs() {
    let house = House::new();
    let (ada, eve) = (house.join("ada"), house.look_on());
    let first = house.heard(&eve);
    assert_eq!(view(&first).people, [Person { user: user("ada"), is_away: false }]);
    assert_eq!((view(&first).spectators, &view(&first).you), (1, &None));
    house.heard(&ada);

    let (tab, bob) = (house.join("ada"), house.join("bob"));
    tab.close();
    bob.close();
    eve.close();
    let changes = [
        Broadcast::Joined { user: user("bob") },
        Broadcast::Left { id: "bob".to_owned() },
        Broadcast::Spectators { count: 1 },
        Broadcast::Left { id: eve.id().to_string() },
        Broadcast::Spectators { count: 0 },
    ];
    assert_eq!(house.heard(&ada), changes);
}

#[test]
fn a_lost_bidder_keeps_the_seat_and_gets_what_was_missed() {
    let house = House::new();
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    ada.bid(1_000).expect("accepted");
    house.heard(&ada);
    house.heard(&bob);

    ada.disconnect();
    house.after(20);
    bob.bid(1_100).expect("accepted");
    house.auction.crash();
    house.after(10);
    let carol = house.join("carol");
    let view = view(&house.heard(&carol)).clone();
    assert!(view.people.contains(&Person { user: user("ada"), is_away: true }), "{view:?}");

    let ada = ada.reconnect(Connection { user: Some(user("ada")) });
    let now_ms = house.world.now_ms();
    let heard = house.heard(&ada);
    let [
        Broadcast::Away { .. },
        Broadcast::Bids { standing, .. },
        Broadcast::Outbid { price: 1_100, least: 1_200 },
        Broadcast::Joined { .. },
        Broadcast::Clock { now_ms: clock },
        Broadcast::Back { .. },
    ] = &heard[..]
    else {
        panic!("{heard:#?}")
    };
    assert_eq!((standing.price, *clock), (1_100, now_ms));
    let of_ada = |message: &Broadcast| match message {
        Broadcast::Away { id } | Broadcast::Back { id } | Broadcast::Left { id } => id == "ada",
        Broadcast::Joined { user } => user.id == "ada",
        _ => false,
    };
    let told: Vec<_> = house.heard(&bob).into_iter().filter(of_ada).collect();
    assert_eq!(told, [Broadcast::Away { id: "ada".to_owned() }, Broadcast::Back { id: "ada".to_owned() }]);
    assert!(ada.bid(1_200).is_ok());
}

#[test]
fn a_bidder_who_missed_too_much_gets_a_snapshot() {
    let house = House::of(World::new(), Lot { start_price: 1, duration_s: 3600, ..lamp() });
    let (ada, bob, carol) = (house.join("ada"), house.join("bob"), house.join("carol"));
    house.heard(&ada);
    ada.disconnect();
    // More messages than the log holds, in less time than the grace.
    for _ in 0..260 {
        for peer in [&bob, &carol] {
            peer.bid(house.standing().least).expect("accepted");
            house.world.advance(Duration::from_millis(500).div_f32(2.5));
        }
    }
    let ada = ada.reconnect(Connection { user: Some(user("ada")) });
    let heard = house.heard(&ada);
    assert!(!heard.iter().any(|message| matches!(message, Broadcast::Bids { .. })), "{heard:?}");
    assert_eq!((view(&heard).standing.bids, view(&heard).bids.len()), (520, 30));
    assert_eq!(view(&heard).people.len(), 3);
}

#[test]
fn a_bidder_who_does_not_return_leaves() {
    let house = House::of(World::new(), Lot { duration_s: 600, ..lamp() });
    let (ada, bob) = (house.join("ada"), house.join("bob"));
    house.heard(&bob);
    ada.disconnect();
    house.after(121);
    let heard = house.heard(&bob);
    assert!(heard.contains(&Broadcast::Left { id: "ada".to_owned() }), "{heard:?}");
    assert_eq!(view(&house.heard(&house.join("carol"))).people.len(), 2);
}

#[test]
fn a_winner_who_is_away_learns_it_on_return() {
    let house = House::new();
    let ada = house.join("ada");
    ada.bid(1_000).expect("accepted");
    house.heard(&ada);
    ada.disconnect();
    house.after(70);
    let ada = ada.reconnect(Connection { user: Some(user("ada")) });
    let heard = house.heard(&ada);
    assert_eq!(closings(&heard), 1);
    assert_eq!(private(heard), [Broadcast::Won { price: 1_000 }]);
}

// The lobby

#[test]
fn the_lobby_lists_several_auctions_live() {
    let world = World::new();
    let lobby = world.room::<lobby::Room>(lobby::ID);
    let rooms = ["a", "b", "c"].map(|id| world.room::<Room>(id));
    for (room, duration_s) in rooms.iter().zip([90, 30, 60]) {
        room.open(Lot { duration_s, ..lamp() }, user("sally")).expect("opened");
    }
    let watcher = lobby.connect(Upgrade::new(lobby::Connection {}));
    let listed = |messages: Vec<lobby::Broadcast>| -> Vec<(String, u64, Phase)> {
        let listings = messages.into_iter().flat_map(|message| match message {
            lobby::Broadcast::Auctions { auctions, .. } => auctions,
            lobby::Broadcast::Listed { listing, .. } => vec![listing],
            lobby::Broadcast::Unlisted { id } => panic!("{id} is not listed"),
        });
        listings.map(|listing| (listing.id, listing.price, listing.phase)).collect()
    };
    let entry = |id: &str, price, phase| (id.to_owned(), price, phase);
    let running = |id| entry(id, 1_000, Phase::Running);
    assert_eq!(listed(heard(&world, &watcher)), [running("b"), running("c"), running("a")]);

    let ada = rooms[0].connect(Upgrade::new(Connection { user: Some(user("ada")) }).id("ada"));
    ada.bid(2_000).expect("accepted");
    lobby.hibernate();
    world.advance(MINUTE);
    let changes =
        [entry("a", 2_000, Phase::Running), entry("b", 1_000, Phase::Unsold), entry("c", 1_000, Phase::Unsold)];
    assert_eq!(listed(heard(&world, &watcher)), changes);
    world.advance(MINUTE);
    let ended = lobby::Calls::list(&lobby).expect("a list");
    let ended: Vec<_> = ended.into_iter().map(|listing| (listing.id, listing.phase, listing.leader)).collect();
    let ada = Some("ADA".to_owned());
    let unsold = |id: &str| (id.to_owned(), Phase::Unsold, None);
    assert_eq!(ended, [("a".to_owned(), Phase::Sold, ada), unsold("c"), unsold("b")]);
}

#[test]
fn the_lobby_learns_everything_over_its_own_crash_and_the_auctions() {
    let house = House::new();
    let ada = house.join("ada");
    house.lobby.fail_calls(true);
    ada.bid(2_000).expect("the lobby does not delay a bid");
    house.auction.crash();
    house.after(30);
    assert_eq!(house.lobby.query::<u64>("select listing ->> 'price' from auctions", ()).expect("a row"), [1_000]);
    house.lobby.crash();
    house.lobby.fail_calls(false);
    house.after(15);
    let listing = &house.listings()[0];
    assert_eq!((listing.price, listing.leader.as_deref(), listing.bids), (2_000, Some("ADA"), 1));

    // Answers that are lost repeat a report, which the lobby handles once.
    let watcher = house.lobby.connect(Upgrade::new(lobby::Connection {}));
    house.lobby.lose_answers(true);
    ada.set_maximum(9_000).expect("accepted");
    house.join("bob").bid(3_000).expect("accepted");
    house.after(5);
    house.lobby.lose_answers(false);
    house.after(60);
    let reports = watcher.received().into_iter().filter_map(|message| match message {
        lobby::Broadcast::Listed { listing, .. } => Some((listing.price, listing.phase)),
        _ => None,
    });
    assert_eq!(reports.collect::<Vec<_>>(), [(3_100, Phase::Running), (3_100, Phase::Sold)]);
}

#[test]
fn only_the_last_ended_auctions_stay_in_the_lobby() {
    let world = World::new();
    let lobby = world.room::<lobby::Room>(lobby::ID);
    let watcher = lobby.connect(Upgrade::new(lobby::Connection {}));
    for number in 0..lobby::ENDED + 2 {
        let room = world.room::<Room>(format!("{number:02}"));
        room.open(Lot { duration_s: 15 + number, ..lamp() }, user("sally")).expect("opened");
    }
    world.advance(MINUTE);
    let ids: Vec<_> = lobby::Calls::list(&lobby).expect("a list").into_iter().map(|listing| listing.id).collect();
    let expected: Vec<_> = (2..lobby::ENDED + 2).rev().map(|number| format!("{number:02}")).collect();
    assert_eq!(ids, expected);
    let dropped = watcher.received().into_iter().filter_map(|message| match message {
        lobby::Broadcast::Unlisted { id } => Some(id),
        _ => None,
    });
    assert_eq!(dropped.collect::<Vec<_>>(), ["00", "01"]);
}

#[test]
fn only_an_auction_reports_to_the_lobby() {
    let house = House::new();
    let mallory = house.lobby.connect(Upgrade::new(lobby::Connection {}));
    let listing = lobby::Listing { price: 1, ..house.listings().remove(0) };
    mallory.send(&lobby::Event::Report { listing });
    house.after(1);
    assert_eq!(mallory.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
    assert_eq!(house.listings()[0].price, 1_000);
}

// Random lives

/// A generator of random numbers that a seed determines (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn every_auction_has_exactly_one_winner_in_any_order_of_events() {
    let seeds = std::env::var("AUCTION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        random_life(seed);
    }
}

fn random_life(seed: u64) {
    let mut dice = Dice(seed);
    let house = House::of(World::with_seed(seed), lamp());
    let names = ["ada", "bob", "carol", "dave"];
    let mut peers = names.map(|name| house.join(name));
    let mut wins: BTreeMap<&str, u64> = BTreeMap::new();
    // The numbers of the peers' calls, for those that a test sends as frames.
    let mut calls = [0_u64; 4];
    let mut end = house.standing().ends_at_ms;
    let collect = |peers: &[TestPeer<Room>; 4], wins: &mut BTreeMap<&str, u64>| {
        for (name, peer) in names.iter().zip(peers) {
            for message in peer.received() {
                if let Broadcast::Won { price } = message {
                    wins.insert(name, price);
                }
            }
        }
    };
    while house.world.now_ms() < end {
        let at = dice.below(4) as usize;
        let amount = house.standing().least.saturating_sub(100) + dice.below(3_000);
        match dice.below(16) {
            0..6 => drop((calls[at] += 1, peers[at].bid(amount))),
            6..9 => drop((calls[at] += 1, peers[at].set_maximum(amount))),
            // All at once: the seed of the world decides the order.
            9 => house.world.together(|| {
                for (peer, calls) in peers.iter().zip(&mut calls) {
                    *calls += 1;
                    peer.send_raw(format!(r#"[{calls},"bid",{{"amount":{}}}]"#, amount + dice.below(500)));
                }
            }),
            10 => house.auction.hibernate(),
            11 => house.auction.crash(),
            12 => house.lobby.crash(),
            13 => {
                collect(&peers, &mut wins);
                let user = peers[at].id().to_string();
                peers[at] = peers[at].reconnect(Connection { user: Some(self::user(&user)) });
            }
            _ => house.world.advance(Duration::from_millis(dice.below(6_000))),
        }
        // Invariants of every moment: the newest row is the price, and its bidder leads.
        let standing = house.standing();
        let last = house.auction.history(None).expect("a history").into_iter().next();
        let leader = standing.leader.clone().map(|leader| leader.id);
        assert_eq!(last.as_ref().map(|bid| bid.user_id.clone()), leader, "seed {seed}");
        assert!(last.is_none_or(|bid| bid.amount == standing.price && bid.seq == standing.bids), "seed {seed}");
        assert!(standing.ends_at_ms >= end, "seed {seed}");
        end = standing.ends_at_ms;
    }
    house.world.advance(MINUTE);
    collect(&peers, &mut wins);

    let standing = house.standing();
    let leader = standing.leader.as_ref().map(|leader| &*leader.id);
    assert_eq!(standing.phase, if leader.is_some() { Phase::Sold } else { Phase::Unsold }, "seed {seed}");
    let winner: BTreeMap<&str, u64> = leader.into_iter().map(|leader| (leader, standing.price)).collect();
    assert_eq!(wins, winner, "seed {seed}");
    for name in names {
        assert_eq!(house.join(name).bid(900_000).map_err(own), Err(BidError::Closed), "seed {seed}");
    }
    let listing = house.listings().remove(0);
    let listed = (listing.price, listing.bids, listing.phase, listing.ends_at_ms);
    assert_eq!(listed, (standing.price, standing.bids, standing.phase, standing.ends_at_ms), "seed {seed}");
}

#[test]
fn the_page_has_the_types_of_the_rooms() {
    room_runtime::bindings::check::<Room>("bindings/auction.ts");
    room_runtime::bindings::check::<lobby::Room>("bindings/lobby.ts");
}
