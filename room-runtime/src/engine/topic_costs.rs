//! Topics over the memory platform: their cost, the stored index, and storage that fails.

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Close, CloseCode, Error, Failure, Limits, OnDuplicate, Peer, Room, RoomContext, Upgrade,
    platform::memory::Memory,
    testing::{TestPeer, TestRoom},
    wire::keys,
};

/// A room with this grace, and with a roster or without.
struct Hub<const GRACE: u64, const ROSTER: bool>;

type Plain = Hub<0, false>;
type Listed = Hub<0, true>;
type Graced = Hub<10_000, true>;

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Join(String),
    Leave(String),
    Publish(String),
    /// Notes the number of subscribers of a topic.
    Count(String),
    Kick(String),
    Purge,
}

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note(what: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(what.into()));
}

fn notes() -> Vec<String> {
    NOTES.take()
}

fn outcome<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    outcome.map_or_else(|error| error.kind().to_string(), |value| format!("{value:?}"))
}

impl<const G: u64, const C: bool> Room for Hub<G, C> {
    const NAME: &'static str = "hub";
    const BINDING: &'static str = "HUB";
    const CLASS: &'static str = "HubRoom";
    const RECONNECT_GRACE_MS: u64 = G;
    const HAS_ON_CLOSE: bool = C;
    const HAS_ON_JOIN: bool = C;
    const HAS_ON_LEAVE: bool = C;
    const LIMITS: Limits = Limits::DEFAULT.max_peers(10_000);
    type State = u64;
    /// The topics that a peer joins in `on_connect`; with `!` among them, `on_connect` then fails.
    type Connection = Vec<String>;
    type Event = Event;
    type Broadcast = String;
    type Alarm = ();
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<u64, Failure> {
        Ok(0)
    }

    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }

    async fn on_connect(_ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        for topic in peer.data().iter() {
            if topic == "!" {
                return Err(Failure::msg("as told"));
            }
            peer.subscribe(topic)?;
        }
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        match event {
            Event::Join(topic) => note(outcome(ctx.sender().expect("a peer").subscribe(&topic))),
            Event::Leave(topic) => note(outcome(ctx.sender().expect("a peer").unsubscribe(&topic))),
            Event::Publish(topic) => {
                note(outcome(ctx.topic(&topic).send(&topic).map(|delivery| delivery.sent)));
            }
            Event::Count(topic) => note(ctx.topic(&topic).len().to_string()),
            Event::Kick(id) => drop(ctx.peers().with_id(id).close(CloseCode::POLICY, "out")?),
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
        for topic in peer.topics() {
            note(format!("{} leaves {topic}, {} left", peer.id(), ctx.topic(&topic).len()));
            note(outcome(peer.subscribe("more")));
        }
        Ok(())
    }
}

fn hub<R: Room>() -> (TestRoom<R>, Rc<Memory>) {
    notes();
    let room = TestRoom::<R>::new("hub");
    let memory = room.object.memory.clone();
    (room, memory)
}

fn upgrade(id: &str, topics: &[&str]) -> Upgrade<Vec<String>> {
    Upgrade::new(topics.iter().map(|topic| (*topic).to_owned()).collect()).id(id)
}

fn join<R: Room<Event = Event>>(peer: &TestPeer<R>, topic: &str) -> String {
    peer.send(&Event::Join(topic.to_owned()));
    notes().concat()
}

fn leave<R: Room<Event = Event>>(peer: &TestPeer<R>, topic: &str) -> String {
    peer.send(&Event::Leave(topic.to_owned()));
    notes().concat()
}

fn publish<R: Room<Event = Event>>(peer: &TestPeer<R>, topic: &str) -> String {
    peer.send(&Event::Publish(topic.to_owned()));
    notes().concat()
}

fn count<R: Room<Event = Event>>(room: &TestRoom<R>, topic: &str) -> String {
    room.send(&Event::Count(topic.to_owned())).expect("counted");
    notes().concat()
}

/// The keys of the index, without the names of entries.
fn index(memory: &Memory) -> Vec<String> {
    let topic = |key: &String| key[keys::TOPICS.len()..].split(' ').next().map(str::to_owned);
    memory.keys(keys::TOPICS).iter().filter_map(topic).collect()
}

#[test]
fn a_message_to_a_topic_costs_its_subscribers_and_not_all_peers() {
    const PEERS: usize = 1_000;
    let (room, memory) = hub::<Plain>();
    let peers: Vec<_> = (0..PEERS)
        .map(|n| room.connect(upgrade(&n.to_string(), if n % 100 == 0 { &["rare", "x"] } else { &["all"] })))
        .collect();
    let cost = |by: usize, topic: &str, sent: &str| {
        memory.attachments_read.set(0);
        memory.sockets_seen.set(0);
        assert_eq!(publish(&peers[by], topic), sent);
        (memory.attachments_read.get(), memory.sockets_seen.get())
    };
    room.hibernate();
    // The first event after a wake reads the attachments of the ten subscribers and of the sender. It looks at each of
    // these sockets as it reads the attachment, and at each subscriber as it finds it by its id and as it sends.
    assert_eq!(cost(7, "rare", "10"), (11, 11 + 10 + 10));
    assert_eq!(cost(7, "rare", "10"), (0, 10));
    // A topic without subscribers costs nothing.
    assert_eq!(cost(7, "nobodys", "0"), (0, 0));
    // Also if a peer has subscribed before the topic is read.
    room.hibernate();
    assert_eq!(join(&peers[8], "rare"), "true");
    assert_eq!(cost(8, "rare", "11"), (10, 10 + 10 + 11));
    assert_eq!(room.incarnations(), 3);
}

#[test]
fn subscribing_and_leaving_cost_the_peer_alone() {
    let (room, memory) = hub::<Listed>();
    let peers: Vec<_> = (0..100).map(|n| room.connect(upgrade(&n.to_string(), &["all"]))).collect();
    room.hibernate();
    memory.attachments_read.set(0);
    memory.sockets_seen.set(0);
    assert_eq!(join(&peers[3], "more"), "true");
    assert_eq!(leave(&peers[3], "more"), "true");
    assert_eq!(leave(&peers[3], "all"), "true");
    assert_eq!((memory.attachments_read.get(), memory.sockets_seen.get()), (1, 1));
}

#[test]
fn an_event_without_a_topic_reads_no_topic() {
    let (room, memory) = hub::<Plain>();
    let alice = room.connect(upgrade("alice", &["x"]));
    room.hibernate();
    memory.trace.take();
    alice.send(&Event::Kick("nobody".to_owned()));
    room.connect(upgrade("bob", &[])).close();
    let trace = memory.trace.take();
    assert!(!trace.is_empty() && !trace.iter().any(|line| line.contains(keys::TOPICS)), "{trace:?}");
}

#[test]
fn a_subscription_ends_with_its_place_and_leaves_no_key() {
    let (room, memory) = hub::<Listed>();
    let alice = room.connect(upgrade("alice", &["a", "b"]));
    let bob = room.connect(upgrade("bob", &["a"]));
    assert_eq!(index(&memory), ["a", "a", "b"]);
    alice.close();
    assert_eq!(notes(), ["alice leaves a, 1 left", "peer_gone", "alice leaves b, 0 left", "peer_gone"]);
    assert_eq!(index(&memory), ["a"]);
    // Replaced, kicked, and refused in its `on_connect`.
    let again = room.connect(upgrade("bob", &["c"]).on_duplicate(OnDuplicate::Replace));
    assert_eq!(index(&memory), ["c"]);
    drop((bob, again));
    room.send(&Event::Kick("bob".to_owned())).expect("kicked");
    assert_eq!(index(&memory), [""; 0]);
    let refused = room.connect(upgrade("carol", &["a", "d", "!"]));
    assert!(!refused.is_open());
    assert_eq!(index(&memory), [""; 0]);
    notes();
    assert_eq!(count(&room, "a"), "0");
    let dave = room.connect(upgrade("dave", &["a"]));
    room.send(&Event::Purge).expect("purged");
    assert!(!dave.is_open());
    assert_eq!(index(&memory), [""; 0]);
    let eve = room.connect(upgrade("eve", &["a"]));
    assert_eq!(publish(&eve, "a"), "1");
}

#[test]
fn a_subscription_in_a_room_without_a_roster_ends_with_its_connection() {
    let (room, memory) = hub::<Plain>();
    let alice = room.connect(upgrade("alice", &["a"]));
    let bob = room.connect(upgrade("bob", &["a"]));
    room.hibernate();
    alice.close();
    assert_eq!(index(&memory), ["a"]);
    assert_eq!(publish(&bob, "a"), "1");
    // After a restart the room does not know who was lost. The keys have no effect and are deleted when they are read.
    room.restart();
    assert_eq!(index(&memory), ["a"]);
    let carol = room.connect(upgrade("bob", &[]));
    assert_eq!(publish(&carol, "a"), "0");
    assert_eq!(index(&memory), [""; 0]);
}

#[test]
fn a_key_without_a_subscription_has_no_effect_and_is_deleted() {
    let (room, memory) = hub::<Graced>();
    let alice = room.connect(upgrade("alice", &["a"]));
    let entry = memory.keys(keys::PEERS)[0][keys::PEERS.len()..].to_owned();
    // A crash between the key and the list leaves a key of a connected peer, and one after a purge that of an unknown one.
    memory.store(&format!("{}b {entry}", keys::TOPICS), format!("{entry} alice").as_bytes());
    memory.store(&format!("{}b 0f", keys::TOPICS), b"0f a peer");
    memory.store(&format!("{}b 1f", keys::TOPICS), b"nonsense");
    room.hibernate();
    assert_eq!(publish(&alice, "b"), "0");
    assert_eq!(index(&memory), ["a", "b"], "only the value that is no subscription stays");
    assert_eq!(publish(&alice, "a"), "1");
    assert_eq!(memory.errors.take(), [""; 0]);
}

#[test]
fn the_key_of_a_peer_that_may_resume_is_kept() {
    let (room, memory) = hub::<Graced>();
    let alice = room.connect(upgrade("alice", &["a"]));
    let token = alice.receive_raw().and_then(|frame| frame.split('"').nth(5).map(str::to_owned)).expect("a token");
    let bob = room.connect(upgrade("bob", &["a"]));
    for forgets in [false, true] {
        alice.disconnect();
        if forgets {
            room.hibernate();
        }
        assert_eq!(publish(&bob, "a"), "1");
        assert_eq!(index(&memory), ["a", "a"]);
        let alice = room.connect(upgrade("alice", &[]).resume(&token));
        assert_eq!(publish(&bob, "a"), "2");
        alice.disconnect();
    }
    // The grace ends.
    room.advance(Duration::from_secs(11));
    assert_eq!(notes(), ["alice leaves a, 1 left", "peer_gone"]);
    assert_eq!(index(&memory), ["a"]);
    // Both connections are lost with the process, and the room is not used meanwhile.
    room.restart();
    room.advance(Duration::from_secs(1_000));
    assert_eq!(index(&memory), [""; 0]);
}

#[test]
fn a_subscription_that_cannot_be_stored_is_an_error_and_changes_nothing() {
    let (room, memory) = hub::<Listed>();
    let alice = room.connect(upgrade("alice", &["a"]));
    room.fail_writes(true);
    assert_eq!(join(&alice, "b"), "storage");
    assert_eq!(leave(&alice, "a"), "storage");
    room.fail_writes(false);
    let topics = || room.peers(None).expect("peers")[0].topics.clone();
    assert_eq!(topics(), ["a"]);
    room.hibernate();
    assert_eq!(topics(), ["a"]);
    assert_eq!(index(&memory), ["a"]);
    assert_eq!((publish(&alice, "a"), publish(&alice, "b")), ("1".to_owned(), "0".to_owned()));
    memory.errors.take();
}

#[test]
fn a_topic_that_cannot_be_read_is_an_error() {
    let (room, memory) = hub::<Listed>();
    let alice = room.connect(upgrade("alice", &["a"]));
    room.hibernate();
    assert_eq!(join(&alice, "b"), "true");
    room.fail_reads(true);
    assert_eq!(publish(&alice, "a"), "storage");
    alice.send(&Event::Count("a".to_owned()));
    assert_eq!(notes(), ["0"]);
    room.fail_reads(false);
    let errors = memory.errors.take();
    assert!(errors.iter().any(|error| error.ends_with("the disk is gone: nobody is selected")), "{errors:?}");
    assert_eq!(publish(&alice, "a"), "1");
}

#[test]
fn memory_holds_the_topics_of_the_present_peers_only() {
    let (room, _memory) = hub::<Plain>();
    let known = || room.object.host().topics.known();
    let alice = room.connect(upgrade("alice", &["a"]));
    let bob = room.connect(upgrade("bob", &["a", "b"]));
    assert_eq!(known(), 2);
    bob.close();
    assert_eq!(known(), 1);
    // The topics without subscribers are bounded.
    for n in 0..2 * super::topics::MAX_EMPTY {
        assert_eq!(publish(&alice, &n.to_string()), "0");
    }
    assert_eq!(known(), super::topics::MAX_EMPTY);
    assert_eq!(publish(&alice, "a"), "1");
    alice.close();
    assert_eq!(known(), 0);
}

#[test]
fn stored_peers_without_topics_have_the_form_that_they_always_had() {
    let (room, memory) = hub::<Listed>();
    let alice = room.connect(upgrade("alice", &[]));
    let stored = || {
        let entry = memory.stored(&memory.keys(keys::PEERS)[0]).expect("an entry");
        String::from_utf8(entry).expect("text")
    };
    let before = stored();
    assert!(!before.contains("topics"), "{before}");
    assert_eq!(join(&alice, "a"), "true");
    assert_eq!(join(&alice, "b"), "true");
    assert!(stored().contains(r#","topics":"a b","#), "{}", stored());
    assert_eq!((leave(&alice, "a"), leave(&alice, "b")), ("true".to_owned(), "true".to_owned()));
    assert_eq!(stored(), before);
}

#[test]
fn a_topic_that_does_not_fit_is_an_error_and_one_less_fits() {
    let (room, memory) = hub::<Plain>();
    let alice = room.connect(upgrade("alice", &[]));
    let longest = |n: usize| format!("{n:0>128}");
    let fitting = (0..).take_while(|n| join(&alice, &longest(*n)) == "true").count();
    // 16,320 bytes, without those of the other fields, for 129 bytes each.
    assert_eq!(fitting, 126);
    assert_eq!(join(&alice, &longest(fitting)), "attachment_too_large");
    assert_eq!(index(&memory).len(), fitting);
    assert_eq!(publish(&alice, &longest(fitting)), "0");
    room.hibernate();
    assert_eq!(publish(&alice, &longest(fitting - 1)), "1");
    assert_eq!(leave(&alice, &longest(0)), "true");
    assert_eq!(join(&alice, &longest(fitting)), "true");
}
