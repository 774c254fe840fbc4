//! Tests of the buckets of a rate limit in storage.

use std::time::Duration;

use http::Request;

use super::{TestPeer, TestRoom};
use crate::{Failure, Limits, RateLimit, RateLimitBy, Room, RoomContext, Upgrade, wire::keys};

/// Defines a room whose events are their cost, and are sent back.
macro_rules! room_with {
    ($name:ident, $limit:expr) => {
        #[derive(Debug)]
        enum $name {}

        impl Room for $name {
            const NAME: &'static str = stringify!($name);
            const BINDING: &'static str = stringify!($name);
            const CLASS: &'static str = stringify!($name);
            const LIMITS: Limits = Limits::DEFAULT.rate_limit($limit);
            const RECONNECT_GRACE_MS: u64 = 60_000;

            type State = ();
            type Connection = ();
            type Event = u32;
            type Broadcast = u32;
            type Alarm = ();
            type Services = ();

            fn init(_: &RoomContext<Self>) -> Result<(), Failure> {
                Ok(())
            }

            fn services(_: &worker::Env) -> Result<(), Failure> {
                Ok(())
            }

            fn event_cost(event: &u32) -> u32 {
                *event
            }

            async fn on_event(ctx: &RoomContext<Self>, event: u32) -> Result<(), Failure> {
                if let Some(peer) = ctx.sender() {
                    peer.send(&event)?;
                }
                Ok(())
            }
        }
    };
}

room_with!(Fast, RateLimit::new(20, 2.0).by(RateLimitBy::Address));
room_with!(Slow, RateLimit::new(3, 0.01).by(RateLimitBy::Address));
room_with!(Wide, RateLimit::new(160, 1.0));

fn from<R: Room<Connection = ()>>(room: &TestRoom<R>, address: &str, upgrade: Upgrade<()>) -> TestPeer<R> {
    let request = Request::get("https://room/").header("cf-connecting-ip", address).body(()).expect("a request");
    room.try_connect_with(request, upgrade).expect("admitted")
}

fn sent<R: Room<Event = u32, Broadcast = u32>>(peer: &TestPeer<R>, cost: u32) -> bool {
    peer.send(&cost);
    match peer.receive_error() {
        Some(error) => {
            assert_eq!(error.kind(), crate::ErrorKind::RateLimited);
            false
        }
        None => {
            assert_eq!(peer.receive(), Some(cost));
            true
        }
    }
}

fn buckets<R: Room>(room: &TestRoom<R>) -> Vec<String> {
    room.object.memory.keys(keys::RATES)
}

#[test]
fn buckets_that_fill_before_a_room_hibernates_are_not_stored() {
    let room = TestRoom::<Fast>::new("r1");
    let peer = from(&room, "203.0.113.7", Upgrade::new(()));
    assert!(sent(&peer, 20) && !sent(&peer, 1));
    assert!(!room.object.memory.trace.borrow().iter().any(|line| line.contains(keys::RATES)));
}

#[test]
fn most_frames_need_no_write() {
    let room = TestRoom::<Wide>::new("r1");
    let peer = room.connect(Upgrade::new(()).id("alice"));
    for _ in 0..160 {
        assert!(sent(&peer, 1));
    }
    assert!(!sent(&peer, 1));
    let put = format!("put {}", keys::RATES);
    let writes = room.object.memory.trace.borrow().iter().filter(|line| line.starts_with(&put)).count();
    assert!((1..=17).contains(&writes), "{writes} writes of 160 frames");
    // The same holds in the long run: a token each second.
    for _ in 0..160 {
        room.advance(Duration::from_secs(1));
        assert!(sent(&peer, 1));
    }
    let more = room.object.memory.trace.borrow().iter().filter(|line| line.starts_with(&put)).count() - writes;
    assert!(more <= 160, "{more} writes of 160 seconds");
    room.hibernate();
    assert!(!sent(&peer, 1));
}

#[test]
fn full_buckets_are_removed_from_storage() {
    let room = TestRoom::<Slow>::new("r1");
    for n in 0..5 {
        assert!(sent(&from(&room, &format!("203.0.113.{n}"), Upgrade::new(())), 1));
    }
    assert_eq!(buckets(&room).len(), 5);
    // A bucket fills in five minutes.
    room.advance(Duration::from_secs(200));
    assert!(sent(&from(&room, "203.0.113.4", Upgrade::new(())), 3));
    room.advance(Duration::from_secs(101));
    assert!(sent(&from(&room, "203.0.113.9", Upgrade::new(())), 1));
    assert_eq!(buckets(&room), ["room:rate:a:203.0.113.4", "room:rate:a:203.0.113.9"]);
    // The time of the next removal survives hibernation.
    room.hibernate();
    room.advance(Duration::from_secs(200));
    assert!(sent(&from(&room, "203.0.113.10", Upgrade::new(())), 1));
    assert_eq!(buckets(&room).len(), 3);
    room.assert_no_errors();
}

#[test]
fn a_rate_holds_while_storage_fails() {
    let room = TestRoom::<Slow>::new("r1");
    let peer = from(&room, "203.0.113.7", Upgrade::new(()));
    room.fail_writes(true);
    assert!(sent(&peer, 1) && sent(&peer, 2) && !sent(&peer, 1));
    assert!(room.take_log().iter().any(|line| line.contains("a rate limit was not written")));
    room.fail_writes(false);
    room.hibernate();
    room.fail_reads(true);
    peer.send(&1);
    assert!(room.take_log().iter().any(|line| line.contains("a rate limit was not read")));
}

#[test]
fn a_peer_that_resumes_is_counted_by_its_new_address() {
    let room = TestRoom::<Slow>::new("r1");
    let alice = from(&room, "203.0.113.7", Upgrade::new(()).id("alice"));
    let token = alice.resume_token().expect("a token");
    assert!(sent(&alice, 3) && !sent(&alice, 1));
    alice.disconnect();
    let alice = from(&room, "203.0.113.8", Upgrade::new(()).id("alice").resume(&token));
    assert_eq!(alice.resume_token().as_deref(), Some(&*token));
    assert!(sent(&alice, 2));
    room.hibernate();
    assert!(sent(&alice, 1) && !sent(&alice, 1));
    assert!(!sent(&from(&room, "203.0.113.8", Upgrade::new(())), 1));
}
