//! `on_binary`, `send_bytes`: rooms with a binary protocol of their own.

use anyhow::Result;
use conformance_rooms::{
    api::{Line, Said},
    raw,
    script::{Broadcast, Event, Step},
};
use room_runtime::ErrorKind;

use super::steps::open;
use crate::harness::{Arrival, Harness, Peer, Room, guest, room, until};

type Raw = raw::Room;

fn command(command: u8, rest: &[u8]) -> Vec<u8> {
    [&[command], rest].concat()
}

async fn bytes<H: Harness>(peer: &Peer<H, Raw>) -> Result<Vec<u8>> {
    Ok(is!(peer.next_of_any_kind().await?, Arrival::Binary(bytes) => bytes))
}

fn raw_room<H: Harness>(h: &H) -> Room<H, Raw> {
    room::<Raw, _>(h, "r")
}

pub(super) async fn a_binary_frame_reaches_on_binary_and_its_answer_the_peer<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    let all: Vec<u8> = (0..=255).cycle().take(90_000).collect();
    for rest in [&all[..], &[], &[0], &[0xff, 0xfe]] {
        alice.send_binary(command(raw::ECHO, rest)).await?;
        same!(bytes(&alice).await?, rest);
    }
    alice.send_binary(Vec::new()).await?;
    same!(bytes(&alice).await?, b"");
    // Text is JSON, as in every room.
    alice.fence().await?;
    same!(room.count().await?, 4);
    Ok(())
}

pub(super) async fn bytes_are_sent_to_a_selection_of_peers<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    alice.send_binary(command(raw::RELAY, b"hello")).await?;
    alice.expect(Broadcast::Pong { n: 2 }).await?;
    same!(bytes(&bob).await?, b"hello");
    same!(bytes(&carol).await?, b"hello");
    alice.fence().await?;
    Ok(())
}

pub(super) async fn binary_frames_and_messages_arrive_in_the_order_in_which_they_were_sent<H: Harness>(
    h: H,
) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    for n in 0..20_u8 {
        alice.send_binary(command(raw::BETWEEN, &[n; 300])).await?;
    }
    for n in 0..20_u8 {
        alice.expect(Broadcast::Pong { n: 1 }).await?;
        same!(bytes(&alice).await?, [n; 300]);
        alice.expect(Broadcast::Pong { n: 2 }).await?;
    }
    Ok(())
}

pub(super) async fn binary_frames_are_handled_in_order_with_the_events_of_their_peer<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    alice.send_binary(command(raw::WAIT, b"first")).await?;
    alice.holding("binary").await?;
    alice.send(&Event::Ping { n: 2 }).await?;
    alice.send_binary(command(raw::ECHO, b"third")).await?;
    room.run([open("binary")]).await?;
    same!(bytes(&alice).await?, b"first");
    alice.expect(Broadcast::Pong { n: 2 }).await?;
    same!(bytes(&alice).await?, b"third");
    Ok(())
}

pub(super) async fn a_binary_frame_over_the_limit_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    alice.send_binary(command(raw::ECHO, &vec![7; 100_000])).await?;
    same!(alice.next_error().await?.code, ErrorKind::TooLarge);
    alice.send_binary(command(raw::ECHO, &vec![7; 99_999])).await?;
    same!(bytes(&alice).await?.len(), 99_999);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn bytes_that_a_peer_does_not_read_close_its_connection<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.heartbeat().await?;
    bob.mute();
    // The limit is 200,000 bytes, and a heartbeat counts once as a sign of reading.
    for _ in 0..10 {
        alice.send_binary(command(raw::RELAY, &vec![1; 90_000])).await?;
        alice.next().await?;
    }
    until(room.harness(), "bob to be closed", || room.peers(None), |peers| peers.len() == 1).await?;
    Ok(())
}

pub(super) async fn a_failure_and_a_refusal_of_on_binary_are_error_frames<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    alice.send_binary(command(raw::FAIL, &[])).await?;
    alice.hears_of_a_failure().await?;
    alice.send_binary(command(raw::REFUSE, &[])).await?;
    let refused = alice.next_error().await?;
    same!((refused.code, &*refused.message), (ErrorKind::Refused, "not these bytes"));
    let log = room.log().await?;
    holds!(log.iter().any(|line| line.contains("on_binary") && line.contains("asked to fail")), "{log:?}");
    Ok(())
}

pub(super) async fn a_peer_that_sends_bytes_wakes_the_room<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.hibernate().await?;
    alice.send_binary(command(raw::RELAY, b"awake")).await?;
    alice.expect(Broadcast::Pong { n: 1 }).await?;
    same!(bytes(&bob).await?, b"awake");
    Ok(())
}

pub(super) async fn the_worker_exchanges_bytes_with_a_room<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let lines = vec![
        Line::SendBytes(command(raw::BETWEEN, &[1, 0, 255])),
        Line::Receive,
        Line::Receive,
        Line::Receive,
        Line::SendBytes(command(raw::REFUSE, &[])),
        Line::Receive,
    ];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    same!(said[1], Said::Message(Broadcast::Pong { n: 1 }));
    same!(said[2], Said::Bytes(vec![1, 0, 255]));
    same!(said[3], Said::Message(Broadcast::Pong { n: 2 }));
    same!(is!(&said[5], Said::Failed(failed) => failed.kind), ErrorKind::Refused);
    Ok(())
}

pub(super) async fn a_crash_in_on_binary_is_reported_to_its_sender<H: Harness>(h: H) -> Result<()> {
    let room = raw_room(&h);
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.send_binary(command(raw::WAIT, &[])).await?;
    alice.holding("binary").await?;
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    alice.send_binary(command(raw::ECHO, b"on")).await?;
    same!(bytes(&alice).await?, b"on");
    Ok(())
}
