//! Rule 12: the rate of a peer or an address over hibernation and reconnects, and the cost of events.

use anyhow::Result;
use conformance_rooms::{
    metered,
    script::{Broadcast, Event, Scripted, Step},
    thrifty,
};
use room_runtime::ErrorKind;

use super::steps::log;
use crate::harness::{Arrival, FrameError, Guest, Harness, Peer, Room, guest, room, until};

const ADDRESS: &str = "cf-connecting-ip";

/// Three tokens, and one more every hundred seconds: a case ends before the next.
type Thrifty = thrifty::Room;

/// Four tokens for each address, and one more every hundred seconds. A ping costs its number.
type Metered = metered::Room;

/// A guest with a client address.
fn from(address: &str, id: &str) -> Guest {
    guest(id).header(ADDRESS, address)
}

async fn ping<H: Harness, R: Scripted>(peer: &Peer<H, R>, n: u32) -> Result<()> {
    peer.send(&Event::Ping { n }).await?;
    peer.expect(Broadcast::Pong { n }).await
}

/// Asserts that the next frame of a peer is over its rate.
async fn is_limited<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<FrameError> {
    peer.send(&Event::Ping { n: 1 }).await?;
    let error = peer.next_error().await?;
    same!(error.code, ErrorKind::RateLimited);
    Ok(error)
}

/// Uses the whole budget of a peer.
async fn use_up<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<()> {
    let burst = R::LIMITS.rate_limit.map_or(0, |limit| limit.burst);
    for _ in 0..burst {
        ping(peer, 1).await?;
    }
    is_limited(peer).await?;
    Ok(())
}

async fn gone<H: Harness, R: Scripted>(h: &H, room: &Room<H, R>) -> Result<()> {
    until(h, "the room to be empty", || room.peer_ids(), Vec::is_empty).await.map(drop)
}

pub(super) async fn a_rate_budget_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Thrifty, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    ping(&bob, 1).await?;
    use_up(&alice).await?;
    room.hibernate().await?;
    is_limited(&alice).await?;
    // Bob has used one of three.
    ping(&bob, 2).await?;
    ping(&bob, 3).await?;
    is_limited(&bob).await?;
    Ok(())
}

pub(super) async fn a_rate_budget_survives_a_restart<H: Harness>(h: H) -> Result<()> {
    let room = room::<Thrifty, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    use_up(&alice).await?;
    room.restart().await?;
    is_limited(&room.connect(guest("alice")).await?).await?;
    ping(&room.connect(guest("bob")).await?, 1).await
}

pub(super) async fn a_rate_budget_survives_a_panic<H: Harness>(h: H) -> Result<()> {
    let room = room::<Thrifty, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    ping(&alice, 1).await?;
    ping(&alice, 2).await?;
    alice.run([Step::Panic]).await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    is_limited(&alice).await?;
    Ok(())
}

pub(super) async fn the_peers_of_one_address_share_a_rate<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    let bob = room.connect(from("203.0.113.7", "bob")).await?;
    let carol = room.connect(from("203.0.113.8", "carol")).await?;
    for _ in 0..2 {
        ping(&alice, 1).await?;
        ping(&bob, 1).await?;
    }
    for peer in [&alice, &bob] {
        let error = is_limited(peer).await?;
        holds!(error.message.contains("this address"), "{error:?}");
        holds!(error.retry_after_ms.is_some_and(|ms| (1..=100_000).contains(&ms)), "{error:?}");
    }
    use_up(&carol).await
}

pub(super) async fn the_addresses_of_one_ipv6_network_share_a_rate<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    use_up(&room.connect(from("2001:db8:0:1::1", "alice")).await?).await?;
    is_limited(&room.connect(from("2001:DB8:0:1:ffff::2", "bob")).await?).await?;
    ping(&room.connect(from("2001:db8:0:2::1", "carol")).await?, 1).await
}

pub(super) async fn another_peer_id_does_not_reset_the_rate_of_an_address<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    use_up(&alice).await?;
    alice.close().await?;
    gone(&h, &room).await?;
    is_limited(&room.connect(from("203.0.113.7", "bob")).await?).await?;
    // The same id from another address has another bucket.
    ping(&room.connect(from("203.0.113.8", "alice")).await?, 1).await
}

pub(super) async fn the_address_of_a_peer_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    let bob = room.connect(from("203.0.113.8", "bob")).await?;
    use_up(&alice).await?;
    room.hibernate().await?;
    ping(&bob, 1).await?;
    is_limited(&alice).await?;
    // The sockets still have their addresses.
    use_rest(&bob, 3).await?;
    is_limited(&room.connect(from("203.0.113.8", "carol")).await?).await?;
    is_limited(&room.connect(from("203.0.113.7", "dave")).await?).await?;
    Ok(())
}

async fn use_rest<H: Harness>(peer: &Peer<H, Metered>, tokens: u32) -> Result<()> {
    ping(peer, tokens).await?;
    is_limited(peer).await?;
    Ok(())
}

pub(super) async fn without_an_address_the_rate_is_counted_for_each_peer_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    // Neither is an address.
    for header in ["unknown", "203.0.113.7, 203.0.113.8"] {
        let alice = room.connect(from(header, &format!("alice of {header}"))).await?;
        let bob = room.connect(from(header, &format!("bob of {header}"))).await?;
        use_up(&alice).await?;
        let error = is_limited(&alice).await?;
        holds!(error.message.contains("this peer"), "{error:?}");
        use_up(&bob).await?;
    }
    Ok(())
}

pub(super) async fn an_address_is_not_a_peer_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    use_up(&room.connect(from("none", "203.0.113.7")).await?).await?;
    use_up(&room.connect(from("203.0.113.7", "alice")).await?).await
}

pub(super) async fn a_flood_affects_no_other_peer_and_is_not_answered_without_end<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let mallory = room.connect(from("203.0.113.7", "mallory")).await?;
    let alice = room.connect(from("203.0.113.8", "alice")).await?;
    for _ in 0..500 {
        mallory.send(&Event::Ping { n: 1 }).await?;
    }
    for _ in 0..4 {
        mallory.expect(Broadcast::Pong { n: 1 }).await?;
    }
    for _ in 0..100 {
        same!(mallory.next_error().await?.code, ErrorKind::RateLimited);
    }
    alice.fence().await?;
    room.broadcast(Broadcast::Pong { n: 7 }).await?;
    // The rest of the flood was dropped without an answer.
    mallory.expect(Broadcast::Pong { n: 7 }).await?;
    alice.expect(Broadcast::Pong { n: 7 }).await?;
    same!(room.peer_ids().await?, ["alice", "mallory"]);
    Ok(())
}

pub(super) async fn an_event_takes_its_cost<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    ping(&alice, 3).await?;
    ping(&alice, 1).await?;
    is_limited(&alice).await?;
    let bob = room.connect(from("203.0.113.8", "bob")).await?;
    ping(&bob, 4).await?;
    is_limited(&bob).await?;
    Ok(())
}

pub(super) async fn an_event_over_the_rate_spends_the_token_of_its_decoding<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    ping(&alice, 2).await?;
    alice.send(&Event::Ping { n: 3 }).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::RateLimited);
    holds!(error.message.contains("costs 3 tokens") && error.message.contains("1 were left"), "{error:?}");
    // Two more tokens are needed beside the one that is left.
    holds!(error.retry_after_ms.is_some_and(|ms| (150_000..=200_000).contains(&ms)), "{error:?}");
    ping(&alice, 1).await?;
    is_limited(&alice).await?;
    Ok(())
}

pub(super) async fn an_event_without_cost_gives_its_token_back<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    for _ in 0..10 {
        ping(&alice, 0).await?;
    }
    ping(&alice, 4).await?;
    // The frame needs a token before the room knows that it costs none.
    alice.send(&Event::Ping { n: 0 }).await?;
    same!(alice.next_error().await?.code, ErrorKind::RateLimited);
    Ok(())
}

pub(super) async fn an_event_that_costs_more_than_the_burst_is_never_handled<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    alice.send(&Event::Ping { n: 5 }).await?;
    let error = alice.next_error().await?;
    same!((error.code, error.retry_after_ms), (ErrorKind::RateLimited, None));
    holds!(error.message.contains("costs 5 tokens") && error.message.contains("at most 4"), "{error:?}");
    ping(&alice, 3).await?;
    is_limited(&alice).await?;
    Ok(())
}

pub(super) async fn a_frame_that_is_no_event_costs_one_token<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    alice.send_raw("{").await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    alice.send_raw("x".repeat(1_001)).await?;
    same!(alice.next_error().await?.code, ErrorKind::TooLarge);
    alice.send_binary(vec![1]).await?;
    is!(alice.next_of_any_kind().await?, Arrival::Text(_));
    ping(&alice, 1).await?;
    is_limited(&alice).await?;
    Ok(())
}

pub(super) async fn the_workers_events_have_no_cost<H: Harness>(h: H) -> Result<()> {
    let room = room::<Metered, _>(&h, "r");
    let alice = room.connect(from("203.0.113.7", "alice")).await?;
    is!(room.try_send(Event::Ping { n: 500 }).await?, Ok(()));
    alice.expect(Broadcast::Pong { n: 500 }).await?;
    for n in 0..10 {
        room.run([log(&n.to_string())]).await?;
    }
    use_up(&alice).await
}
