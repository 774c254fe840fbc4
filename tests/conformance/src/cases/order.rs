//! Rule 2: the order of events.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Broadcast, Event, Step},
};
use room_runtime::ErrorKind;

use super::steps::{hold, log, open, whisper};
use crate::harness::{Arrival, Harness, guest, room, until};

pub(super) async fn frames_of_one_peer_are_handled_in_order_though_handlers_wait<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Sleep(150), whisper("one")]).await?;
    alice.run([Step::Sleep(10), whisper("two")]).await?;
    alice.run([whisper("three")]).await?;
    for text in ["one", "two", "three"] {
        alice.hears(Some("alice"), text).await?;
    }
    Ok(())
}

pub(super) async fn a_frame_that_does_not_decode_keeps_its_place<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Sleep(100), whisper("before")]).await?;
    alice.send_raw("{").await?;
    alice.run([whisper("behind")]).await?;
    alice.hears(Some("alice"), "before").await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    alice.hears(Some("alice"), "behind").await?;
    Ok(())
}

pub(super) async fn handlers_of_different_peers_interleave_where_they_wait<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([log("alice begins"), hold("gate"), log("alice ends")]).await?;
    bob.holding("gate").await?;
    bob.run([log("bob")]).await?;
    bob.run([open("gate")]).await?;
    alice.holding("gate").await?;
    alice.fence().await?;
    same!(room.log().await?[2..], ["alice begins", "bob", "alice ends"]);
    Ok(())
}

pub(super) async fn sockets_of_one_id_do_not_wait_for_each_other<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let one = room.connect(guest("alice")).await?;
    let other = room.connect(guest("alice")).await?;
    one.run([hold("gate"), whisper("done")]).await?;
    other.holding("gate").await?;
    other.fence().await?;
    other.run([open("gate")]).await?;
    one.holding("gate").await?;
    one.hears(Some("alice"), "done").await?;
    Ok(())
}

pub(super) async fn on_close_runs_after_the_queued_frames<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate"), log("first")]).await?;
    alice.run([log("second")]).await?;
    alice.holding("gate").await?;
    // The handshake of the close does not wait for the handlers.
    alice.begin_close(1000, "bye").await?;
    same!(alice.closed().await?, (1000, "bye".to_owned()));
    bob.holding("gate").await?;
    bob.run([log("nothing yet"), open("gate")]).await?;
    let log = until(&h, "on_close of alice", || room.log(), |log| log.len() >= 6).await?;
    same!(log[2..5], ["nothing yet", "first", "second"]);
    holds!(log[5].starts_with("close alice 1000 \"bye\""), "{log:?}");
    Ok(())
}

pub(super) async fn the_queue_of_a_peer_is_bounded_and_dropped_frames_are_reported<H: Harness>(h: H) -> Result<()> {
    const SENT: usize = 1_100;
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    for _ in 0..SENT {
        alice.run([Step::Add(1)]).await?;
    }
    // The sender of the first dropped frame gets an error frame while the others wait.
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::Overloaded);
    same!(room.count().await?, 0);
    // The platform answers the heartbeat itself. Its answer shows that all earlier frames have arrived.
    alice.heartbeat().await?;
    bob.holding("gate").await?;
    bob.run([open("gate")]).await?;
    bob.fence().await?;
    let dropped = 1 + overloaded_until_pong(&alice).await?;
    holds!(dropped < SENT, "none of the frames was kept");
    same!(usize::try_from(room.count().await?)?, SENT - dropped);
    alice.fence().await?;
    Ok(())
}

/// Counts the error frames about dropped frames, until the peer's fence.
async fn overloaded_until_pong<H: Harness>(peer: &crate::harness::Peer<H, probe::Room>) -> Result<usize> {
    peer.send(&Event::Ping { n: 7 }).await?;
    let pong = serde_json::to_string(&Broadcast::Pong { n: 7 })?;
    let mut dropped = 0;
    loop {
        match peer.next_of_any_kind().await? {
            Arrival::Text(text) if text == pong => return Ok(dropped),
            Arrival::Text(text) if text.contains("\"overloaded\"") => dropped += 1,
            Arrival::Text(text) if text.contains("\"Pong\"") => {}
            other => anyhow::bail!("{other:?} in place of a pong or of an error frame"),
        }
    }
}

pub(super) async fn the_queue_of_a_peer_is_bounded_in_bytes<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    // Unknown fields of an event are ignored, but count for its size.
    let large = format!(r#"{{"type":"Ping","n":1,"ballast":"{}"}}"#, "x".repeat(1_000_000));
    for _ in 0..6 {
        alice.send_raw(&*large).await?;
    }
    same!(alice.next_error().await?.code, ErrorKind::Overloaded);
    alice.heartbeat().await?;
    bob.holding("gate").await?;
    bob.run([open("gate")]).await?;
    bob.fence().await?;
    overloaded_until_pong(&alice).await?;
    Ok(())
}

pub(super) async fn the_workers_send_does_not_wait_for_a_peers_handler<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([hold("gate"), log("alice")]).await?;
    alice.holding("gate").await?;
    room.run([log("the Worker")]).await?;
    room.run([open("gate")]).await?;
    alice.fence().await?;
    same!(room.log().await?[1..], ["the Worker", "alice"]);
    Ok(())
}

pub(super) async fn the_workers_sends_do_not_wait_for_each_other<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let first = h.begin(room.try_run([hold("gate"), log("first")]));
    alice.holding("gate").await?;
    room.run([log("second")]).await?;
    alice.run([open("gate")]).await?;
    same!(first.await?, Ok(()));
    same!(room.log().await?[1..], ["second", "first"]);
    Ok(())
}
