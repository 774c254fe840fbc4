//! Rule 12: the limits of a room.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    narrow, paced, probe,
    script::{Broadcast, Event, Step, UpgradeStep},
    small,
};
use room_runtime::ErrorKind;

use super::steps::{hold, open, send};
use crate::harness::{Arrival, Harness, Peer, Refusal, Room, guest, room, until};

// max_peers: three.

async fn full<H: Harness>(h: &H) -> Result<(Room<H, small::Room>, [Peer<H, small::Room>; 3])> {
    let room = room::<small::Room, _>(h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    Ok((room, [alice, bob, carol]))
}

pub(super) async fn a_full_room_answers_503_until_a_peer_leaves<H: Harness>(h: H) -> Result<()> {
    let (room, [alice, bob, _carol]) = full(&h).await?;
    let response = room.refused(guest("dave")).await?;
    same!(response.status(), 503);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    holds!(text.contains('3'), "the limit is missing in {text:?}");
    bob.close().await?;
    until(&h, "bob to be gone", || room.peer_ids(), |ids| ids.len() == 2).await?;
    let dave = room.connect(guest("dave")).await?;
    dave.fence().await?;
    same!(room.refused(guest("erin")).await?.status(), 503);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_full_room_does_not_run_on_upgrade<H: Harness>(h: H) -> Result<()> {
    let (room, _peers) = full(&h).await?;
    let dave = guest("dave").on_upgrade([UpgradeStep::Log("on_upgrade of dave".to_owned())]);
    same!(room.refused(dave).await?.status(), 503);
    same!(room.log().await?, ["connect alice", "connect bob", "connect carol"]);
    Ok(())
}

pub(super) async fn a_room_that_fills_while_on_upgrade_waits_is_full<H: Harness>(h: H) -> Result<()> {
    let room = room::<small::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let _bob = room.connect(guest("bob")).await?;
    let dave = room.begin_connect(guest("dave").on_upgrade([UpgradeStep::Hold("door".to_owned())]));
    alice.holding("door").await?;
    let _carol = room.connect(guest("carol")).await?;
    alice.run([open("door")]).await?;
    let response = is!(dave.await?, Err(Refusal::Response(response)) => response);
    same!(response.status(), 503);
    same!(room.peer_ids().await?, ["alice", "bob", "carol"]);
    Ok(())
}

pub(super) async fn a_peer_that_the_room_closes_frees_its_place_at_once<H: Harness>(h: H) -> Result<()> {
    let (room, [alice, ..]) = full(&h).await?;
    alice.run([super::steps::close([super::steps::with_id("bob")], 4_000, "")]).await?;
    is!(alice.next().await?, Broadcast::Closed { count: 1, .. });
    room.connect(guest("dave")).await?.fence().await?;
    Ok(())
}

// max_message_bytes: a thousand.

pub(super) async fn a_frame_may_have_as_many_bytes_as_the_limit<H: Harness>(h: H) -> Result<()> {
    let room = room::<small::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // The limit counts bytes, not characters: ä has two.
    let start = r#"{"type":"Ping","n":1,"ä":""#;
    let frame = |bytes: usize| format!(r#"{start}{}"}}"#, "x".repeat(bytes - start.len() - 2));
    alice.send_raw(frame(1_000)).await?;
    alice.expect(Broadcast::Pong { n: 1 }).await?;
    alice.send_raw(frame(1_001)).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::TooLarge);
    holds!(error.message.contains("1000") && error.message.contains("1001"), "{error:?}");
    alice.fence().await?;
    Ok(())
}

// rate_limit: three at once, and one more every four seconds. Frames that must share one burst are sent together.

async fn limited<H: Harness>(peer: &Peer<H, paced::Room>) -> Result<u64> {
    let error = peer.next_error().await?;
    same!(error.code, ErrorKind::RateLimited);
    let retry_after_ms = is!(error.retry_after_ms, Some(ms) => ms);
    holds!((1..=4_000).contains(&retry_after_ms), "{error:?}");
    Ok(retry_after_ms)
}

pub(super) async fn a_frame_over_the_rate_is_dropped_and_reported_until_a_token_is_available<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for _ in 0..4 {
        alice.run([Step::Add(1)]).await?;
    }
    let retry_after = Duration::from_millis(limited(&alice).await?);
    same!(room.count().await?, 3);
    h.clone().pass(retry_after).await;
    alice.send(&Event::Ping { n: 1 }).await?;
    alice.expect(Broadcast::Pong { n: 1 }).await?;
    alice.send(&Event::Ping { n: 2 }).await?;
    limited(&alice).await?;
    Ok(())
}

pub(super) async fn a_frame_over_the_rate_is_not_decoded<H: Harness>(h: H) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for n in 1..=3 {
        alice.send(&Event::Ping { n }).await?;
    }
    alice.send_raw("{").await?;
    for n in 1..=3 {
        alice.expect(Broadcast::Pong { n }).await?;
    }
    limited(&alice).await?;
    same!(room.log().await?, ["connect alice"]);
    Ok(())
}

pub(super) async fn the_rate_is_counted_for_each_peer_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let one = room.connect(guest("alice")).await?;
    let other = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    for n in 1..=2 {
        for peer in [&one, &other] {
            peer.send(&Event::Ping { n }).await?;
        }
    }
    for n in 1..=3 {
        bob.send(&Event::Ping { n }).await?;
    }
    let (mut answered, mut limited) = (0, 0);
    for peer in [&one, &other, &one, &other] {
        match peer.next_of_any_kind().await? {
            Arrival::Text(text) if text.contains("\"Pong\"") => answered += 1,
            Arrival::Text(text) if text.contains("\"rate_limited\"") => limited += 1,
            arrival => anyhow::bail!("{arrival:?} in place of an answer"),
        }
    }
    same!((answered, limited), (3, 1));
    for n in 1..=3 {
        bob.expect(Broadcast::Pong { n }).await?;
    }
    Ok(())
}

pub(super) async fn neither_heartbeats_nor_the_workers_events_count_for_the_rate<H: Harness>(h: H) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for _ in 0..5 {
        alice.heartbeat().await?;
        room.run([Step::Add(1)]).await?;
    }
    for n in 1..=3 {
        alice.send(&Event::Ping { n }).await?;
        alice.expect(Broadcast::Pong { n }).await?;
    }
    same!(room.count().await?, 5);
    Ok(())
}

// max_unread_bytes: ten thousand.

/// Sends 4,000 bytes to each peer; returns the peers that received them.
async fn flood<H: Harness>(by: &Peer<H, narrow::Room>) -> Result<(usize, Vec<String>)> {
    give(by, 4_000).await
}

/// Sends that many bytes to each peer; returns the peers that received them.
async fn give<H: Harness>(by: &Peer<H, narrow::Room>, bytes: usize) -> Result<(usize, Vec<String>)> {
    by.run([send([], &"x".repeat(bytes))]).await?;
    is!(by.next().await?, Broadcast::Said { .. });
    Ok(is!(by.next().await?, Broadcast::Delivered { sent, unread, .. } => (sent, unread)))
}

pub(super) async fn a_slow_consumer_is_skipped_and_closed_with_1013<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    for _ in 0..3 {
        same!(flood(&alice).await?, (2, vec![]));
    }
    same!(flood(&alice).await?, (1, vec!["bob".to_owned()]));
    for _ in 0..3 {
        is!(bob.next().await?, Broadcast::Said { .. });
    }
    same!(bob.closed().await?.0, 1013);
    let log =
        until(&h, "on_close of bob", || room.log(), |log| log.iter().any(|line| line.starts_with("close "))).await?;
    holds!(log[2].starts_with("close bob 1013 "), "{log:?}");
    same!(room.peer_ids().await?, ["alice"]);
    same!(flood(&alice).await?, (1, vec![]));
    Ok(())
}

pub(super) async fn sending_to_a_slow_consumer_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let _bob = room.connect(guest("bob")).await?;
    // The room cannot see that she reads while her own handler runs.
    let large = super::steps::whisper(&"x".repeat(4_000));
    alice.run(vec![large; 5]).await?;
    for _ in 0..3 {
        is!(alice.next().await?, Broadcast::Said { .. });
    }
    same!(alice.closed().await?.0, 1013);
    let log = until(&h, "an error in the log", || room.log(), |log| log.len() >= 4).await?;
    let error = log.iter().find(|line| line.starts_with("error on_event alice: unread "));
    holds!(error.is_some_and(|line| line.contains("10000")), "{log:?}");
    Ok(())
}

pub(super) async fn a_frame_shows_that_a_peer_reads<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    for _ in 0..8 {
        same!(flood(&alice).await?, (2, vec![]));
        is!(bob.next().await?, Broadcast::Said { .. });
        bob.fence().await?;
    }
    Ok(())
}

pub(super) async fn a_heartbeat_shows_that_a_peer_reads<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    for _ in 0..8 {
        same!(flood(&alice).await?, (2, vec![]));
        is!(bob.next().await?, Broadcast::Said { .. });
        bob.heartbeat().await?;
    }
    Ok(())
}

/// Sends messages to all peers until the unread bytes of the peer `to` are just over the limit.
async fn fill<H: Harness>(by: &Peer<H, narrow::Room>, to: &Peer<H, narrow::Room>) -> Result<()> {
    for bytes in [4_000, 4_000, 2_000] {
        same!(give(by, bytes).await?, (2, vec![]));
        is!(to.next().await?, Broadcast::Said { .. });
    }
    Ok(())
}

pub(super) async fn a_silent_peer_without_heartbeats_has_a_limit_that_refills<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    fill(&alice, &bob).await?;
    for _ in 0..4 {
        // A thirtieth of a minute adds 333 bytes. The message has 322.
        h.clone().pass(Duration::from_secs(2)).await;
        same!(give(&alice, 280).await?, (2, vec![]));
        is!(bob.next().await?, Broadcast::Said { .. });
    }
    // The allowance is renewed, not given once.
    for _ in 0..2 {
        give(&alice, 4_000).await?;
    }
    same!(give(&alice, 200).await?, (1, vec![]));
    same!(room.peer_ids().await?, ["alice"]);
    Ok(())
}

pub(super) async fn a_peer_that_sends_heartbeats_must_keep_sending_them<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    fill(&alice, &bob).await?;
    bob.heartbeat().await?;
    same!(give(&alice, 200).await?, (2, vec![]));
    is!(bob.next().await?, Broadcast::Said { .. });
    fill(&alice, &bob).await?;
    for _ in 0..4 {
        h.clone().pass(Duration::from_secs(2)).await;
        alice.fence().await?;
    }
    same!(give(&alice, 200).await?, (1, vec!["bob".to_owned()]));
    same!(bob.closed().await?.0, 1013);
    Ok(())
}

pub(super) async fn a_listener_that_stops_reading_is_cut_off_within_twice_the_limit<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.mute();
    let mut given = 0;
    while flood(&alice).await? == (2, vec![]) {
        given += 4_000;
        holds!(given <= 20_000, "bob reads nothing and was sent {given} bytes");
    }
    same!(room.peer_ids().await?, ["alice"]);
    same!(flood(&alice).await?, (1, vec![]));
    Ok(())
}

pub(super) async fn a_room_that_has_slept_has_nothing_unread<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    fill(&alice, &bob).await?;
    room.hibernate().await?;
    for _ in 0..3 {
        same!(flood(&alice).await?, (2, vec![]));
    }
    for _ in 0..3 {
        is!(bob.next().await?, Broadcast::Said { .. });
    }
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_heartbeat_is_answered_without_waking_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.hibernate().await?;
    let starts = room.starts().await?;
    for peer in [&alice, &bob, &alice] {
        peer.heartbeat().await?;
    }
    same!(room.starts().await?, starts);
    // Both peers are unchanged, and the room did not notice.
    for peer in [&alice, &bob] {
        peer.fence().await?;
    }
    same!(room.log().await?, ["connect alice", "connect bob"]);
    Ok(())
}

pub(super) async fn only_the_exact_text_is_a_heartbeat<H: Harness>(h: H) -> Result<()> {
    let room = room::<narrow::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for text in ["anyone", "Anyone?", "anyone? ", "ping"] {
        alice.send_raw(text).await?;
        same!(alice.next_error().await?.code, ErrorKind::Decode);
    }
    alice.heartbeat().await?;
    Ok(())
}

pub(super) async fn the_workers_events_are_handled_while_a_peer_is_over_its_rate<H: Harness>(h: H) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    for n in 1..=2 {
        alice.send(&Event::Ping { n }).await?;
    }
    alice.run([open("gate")]).await?;
    limited(&alice).await?;
    // The dropped frame would have opened the gate.
    room.run([open("gate")]).await?;
    for n in 1..=2 {
        alice.expect(Broadcast::Pong { n }).await?;
    }
    Ok(())
}

pub(super) async fn the_queue_for_on_start_is_bounded<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    room.hibernate().await?;
    room.script("on_start", [Step::Sleep(3_000)]).await?;
    // One frame is about to be handled; 1,024 are queued.
    for n in 0..1_124 {
        alice.send(&Event::Ping { n }).await?;
    }
    for _ in 0..99 {
        same!(alice.next_error().await?.code, ErrorKind::Overloaded);
    }
    for n in 0..1_025 {
        alice.expect(Broadcast::Pong { n }).await?;
    }
    alice.fence().await
}

pub(super) async fn a_peer_does_not_reset_its_rate_by_reconnecting<H: Harness>(h: H) -> Result<()> {
    let room = room::<paced::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for n in 0..3 {
        alice.send(&Event::Ping { n }).await?;
        alice.expect(Broadcast::Pong { n }).await?;
    }
    alice.close().await?;
    until(&h, "the room to be empty", || room.peer_ids(), Vec::is_empty).await?;
    // A full bucket would allow three more; it fills in twelve seconds.
    let alice = room.connect(guest("alice")).await?;
    for n in 3..6 {
        alice.send(&Event::Ping { n }).await?;
    }
    for _ in 3..6 {
        let arrival = is!(alice.next_of_any_kind().await?, Arrival::Text(text) => text);
        if arrival.contains("rate_limited") {
            return Ok(());
        }
    }
    anyhow::bail!("a peer that came back has a full bucket")
}
