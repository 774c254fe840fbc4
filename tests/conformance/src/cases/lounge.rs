//! Presence: connections lost with the process, kept places, rooms with `purge_after`, and stored data of older code.

use std::time::Duration;

use anyhow::{Context, Result};
use conformance_rooms::{
    lounge::{hall, inn, lounge, motel, moved},
    script::{Broadcast, PeerReport, Scripted, Selector, Step, UpgradeStep},
};
use hyper::{Request, body::Bytes};
use room_runtime::{ErrorKind, OnResume};
use serde_json::Value;

use super::steps::{close, fail, hold, leave, log, rename, report, sender};
use crate::{
    harness::{Arrival, Guest, Harness, Peer, Room, guest, room, until},
    memory::Memory,
};

/// Longer than the `reconnect_grace` of the lounge and the `purge_after` of the motel.
pub(super) const LONG: Duration = Duration::from_secs(7);

/// The present users, as the room sees them. The request wakes the room.
pub(super) async fn presence<H: Harness, R: Scripted>(room: &Room<H, R>) -> Result<Vec<String>> {
    let answer = room.request(Request::get("https://room/").body(Bytes::new())?).await?;
    Ok(serde_json::from_slice(answer.body())?)
}

pub(super) async fn is_present<H: Harness, R: Scripted>(room: &Room<H, R>, wanted: &[&str]) -> Result<()> {
    until(room.harness(), &format!("{wanted:?}"), || presence(room), |users| users == wanted).await.map(drop)
}

/// Waits until `on_close` has logged `count` lines, and returns them.
pub(super) async fn closes<H: Harness, R: Scripted>(room: &Room<H, R>, count: usize) -> Result<Vec<String>> {
    let closes = |log: &Vec<String>| log.iter().filter(|line| line.starts_with("close ")).cloned().collect::<Vec<_>>();
    let what = format!("{count} times on_close");
    let log = until(room.harness(), &what, || room.log(), |log| closes(log).len() >= count).await?;
    let mut closes = closes(&log);
    same!(closes.len(), count);
    // The order in which peers close that were lost together is unspecified.
    closes.sort();
    Ok(closes)
}

/// Connects a guest to a room that keeps places; returns the peer and its resume token.
pub(super) async fn enter<H: Harness, R: Scripted>(room: &Room<H, R>, guest: Guest) -> Result<(Peer<H, R>, String)> {
    let peer = room.connect(guest).await?;
    let frame = is!(peer.next_of_any_kind().await?, Arrival::Text(text) => text);
    let frame: Value = serde_json::from_str(&frame)?;
    let token = frame.pointer("/$room/resume").and_then(Value::as_str);
    let token = token.with_context(|| format!("{frame} tells no token"))?.to_owned();
    Ok((peer, token))
}

pub(super) async fn report_of<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<PeerReport> {
    sender(peer.ask([Step::Report]).await?)
}

/// Drops a connection, and waits until the room has noticed.
pub(super) async fn lose<H: Harness, R: Scripted>(room: &Room<H, R>, peer: &Peer<H, R>, id: &str) -> Result<()> {
    peer.disconnect();
    let away = format!("{id} away");
    let noticed = |users: &Vec<String>| users.contains(&away);
    until(room.harness(), &away, || presence(room), noticed).await.map(drop)
}

// Connections that are lost with the process

pub(super) async fn peers_lost_in_a_restart_are_closed_once_with_their_data_and_tags<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x", "y"])).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([rename("Alicia")]).await?;
    alice.fence().await?;
    bob.fence().await?;
    room.restart().await?;
    let lines = ["close alice 1006 lost, Alicia [\"x\", \"y\"]", "close bob 1006 lost, bob []"];
    same!(closes(&room, 2).await?, lines);
    same!(presence(&room).await?.len(), 0);
    // Nor after the next wake.
    room.restart().await?;
    same!(closes(&room, 2).await?, lines);
    Ok(())
}

pub(super) async fn a_lost_connection_is_not_reported_as_lost_with_the_process<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    room.connect(guest("alice")).await?.disconnect();
    same!(closes(&room, 1).await?, ["close alice 1006 left, alice []"]);
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_peer_that_left_before_a_restart_is_not_closed_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    room.connect(guest("alice")).await?.close().await?;
    closes(&room, 1).await?;
    bob.fence().await?;
    room.restart().await?;
    same!(closes(&room, 2).await?, ["close alice 1000 left, alice []", "close bob 1006 lost, bob []"]);
    Ok(())
}

pub(super) async fn no_peer_is_closed_when_a_room_only_hibernates<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.hibernate().await?;
    // A call of the Worker wakes the room, and then a socket does.
    same!(room.log().await?, ["connect alice", "connect bob"]);
    room.hibernate().await?;
    alice.fence().await?;
    bob.fence().await?;
    same!(room.log().await?, ["connect alice", "connect bob"]);
    Ok(())
}

pub(super) async fn a_peer_that_closed_before_a_crash_gets_its_on_close_at_the_next_wake<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x"])).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    bob.holding("gate").await?;
    alice.begin_close(1000, "").await?;
    // The close is answered at once; `on_close` waits for the running handler.
    same!(alice.closed().await?.0, 1000);
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    same!(closes(&room, 1).await?, ["close alice 1000 left, alice [\"x\"]"]);
    bob.fence().await?;
    closes(&room, 1).await?;
    Ok(())
}

pub(super) async fn peers_that_a_crashing_handler_has_closed_have_one_on_close_each<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for _ in 0..5 {
        for id in ["bob", "carol", "dave"] {
            room.connect(guest(id)).await?.fence().await?;
        }
        alice.run([close([Selector::ExceptSender], 4_000, "out"), Step::Panic]).await?;
        is!(alice.next().await?, Broadcast::Closed { count: 3, .. });
        same!(alice.next_error().await?.code, ErrorKind::Restarted);
        alice.fence().await?;
    }
    let closes = closes(&room, 15).await?;
    for id in ["bob", "carol", "dave"] {
        let line = format!("close {id} 4000 left, {id} []");
        same!(closes.iter().filter(|close| **close == line).count(), 5);
    }
    Ok(())
}

// Presence

pub(super) async fn presence_groups_connections_by_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    same!(presence(&room).await?.len(), 0);
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice")).await?;
    let _other = room.connect(guest("alice")).await?;
    same!(presence(&room).await?, ["alice x2", "bob x1"]);
    alice.close().await?;
    is_present(&room, &["alice x1", "bob x1"]).await?;
    bob.run([leave(1000, "")]).await?;
    is_present(&room, &["alice x1"]).await
}

pub(super) async fn presence_is_the_same_after_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (_one, _) = enter(&room, guest("alice")).await?;
    let (_two, _) = enter(&room, guest("alice")).await?;
    let (_bob, _) = enter(&room, guest("bob")).await?;
    let before = presence(&room).await?;
    same!(before, ["alice x2", "bob x1"]);
    room.hibernate().await?;
    same!(presence(&room).await?, before);
    Ok(())
}

pub(super) async fn users_lost_in_a_restart_are_away_and_then_gone<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    enter(&room, guest("alice").tags(["x"])).await?;
    enter(&room, guest("bob")).await?;
    room.restart().await?;
    same!(presence(&room).await?, ["alice away", "bob away"]);
    is_present(&room, &[]).await?;
    same!(closes(&room, 2).await?, ["close alice 1006 lost, alice [\"x\"]", "close bob 1006 lost, bob []"]);
    Ok(())
}

// Kept places

pub(super) async fn a_peer_that_resumes_within_the_grace_continues<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    alice.run([rename("Alicia")]).await?;
    let before = report_of(&alice).await?;
    lose(&room, &alice, "alice").await?;
    // On a resume, the client's new data is ignored.
    let (alice, again) = enter(&room, guest("alice").name("other").tags(["y"]).resume(&token)).await?;
    same!(again, token);
    same!(report_of(&alice).await?, before);
    same!(presence(&room).await?, ["alice x1"]);
    h.pass(LONG).await;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    same!(room.peers(Some("x")).await?.len(), 1);
    Ok(())
}

pub(super) async fn a_resumed_peer_gets_the_data_of_its_new_upgrade_on_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    let by_the_worker = guest("alice").name("Worker").on_resume(OnResume::ReplaceData);
    let by_the_room = guest("alice")
        .on_upgrade([UpgradeStep::SetName("Room".to_owned()), UpgradeStep::SetOnResume(OnResume::ReplaceData)]);
    let mut alice = alice;
    for (guest, name) in [(by_the_worker, "Worker"), (by_the_room, "Room")] {
        lose(&room, &alice, "alice").await?;
        (alice, _) = enter(&room, guest.tags(["y"]).resume(&token)).await?;
        let report = report_of(&alice).await?;
        same!((&*report.name, report.tags), (name, vec!["x".to_owned()]));
    }
    // The data is also stored.
    room.restart().await?;
    same!(closes(&room, 1).await?, ["close alice 1006 lost, Room [\"x\"]"]);
    same!(room.log().await?[..3], ["connect alice", "resume alice", "resume alice"]);
    Ok(())
}

pub(super) async fn data_that_is_too_large_refuses_a_resume_that_can_be_retried<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    let large = [UpgradeStep::SetNameTo(20_000), UpgradeStep::SetOnResume(OnResume::ReplaceData)];
    let error = room.failed(guest("alice").on_upgrade(large).resume(&token)).await?;
    same!(error.kind, ErrorKind::AttachmentTooLarge);
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    same!(report_of(&alice).await?.name, "alice");
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn on_upgrade_can_make_a_new_peer_of_one_that_would_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    lose(&room, &alice, "alice").await?;
    let guest = guest("alice").tags(["y"]).on_upgrade([UpgradeStep::ForgetResume]).resume(&token);
    let (alice, other) = enter(&room, guest).await?;
    holds!(token != other, "it has the old place");
    same!(report_of(&alice).await?.tags, ["y"]);
    same!(closes(&room, 1).await?, ["close alice 1006 left, alice [\"x\"]"]);
    same!(room.log().await?[..2], ["connect alice", "connect alice"]);
    Ok(())
}

pub(super) async fn a_peer_may_resume_any_number_of_times<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (mut alice, token) = enter(&room, guest("alice")).await?;
    for _ in 0..3 {
        lose(&room, &alice, "alice").await?;
        (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
        alice.fence().await?;
    }
    same!(room.log().await?, ["connect alice", "resume alice", "resume alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_peer_lost_in_a_restart_can_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    alice.run([rename("Alicia")]).await?;
    let before = report_of(&alice).await?;
    room.restart().await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    same!(report_of(&alice).await?, before);
    h.pass(LONG).await;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_peer_that_does_not_resume_is_closed_once_after_the_grace<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice").tags(["x"])).await?;
    let (bob, _) = enter(&room, guest("bob")).await?;
    alice.run([rename("Alicia")]).await?;
    alice.fence().await?;
    lose(&room, &alice, "alice").await?;
    same!(room.peer_ids().await?, ["bob"]);
    same!(room.log().await?, ["connect alice", "connect bob"]);
    same!(closes(&room, 1).await?, ["close alice 1006 left, Alicia [\"x\"]"]);
    same!(presence(&room).await?, ["bob x1"]);
    h.pass(LONG).await;
    closes(&room, 1).await?;
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_wrong_token_makes_a_new_peer<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    lose(&room, &alice, "alice").await?;
    let (alice, other) = enter(&room, guest("alice").tags(["y"]).resume(&"0".repeat(32))).await?;
    let (_, third) = enter(&room, guest("alice").resume("no token")).await?;
    holds!(token != other && token != third && other != third, "a token was given twice");
    same!(report_of(&alice).await?.tags, ["y"]);
    same!(closes(&room, 1).await?, ["close alice 1006 left, alice [\"x\"]"]);
    h.pass(LONG).await;
    closes(&room, 1).await?;
    same!(room.log().await?[..3], ["connect alice", "connect alice", "connect alice"]);
    Ok(())
}

pub(super) async fn a_token_is_invalid_for_another_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    let (_bob, other) = enter(&room, guest("bob").resume(&token)).await?;
    holds!(token != other, "bob has the token of alice");
    same!(presence(&room).await?, ["alice away", "bob x1"]);
    same!(closes(&room, 1).await?, ["close alice 1006 left, alice []"]);
    same!(room.log().await?[..2], ["connect alice", "connect bob"]);
    Ok(())
}

pub(super) async fn a_token_is_invalid_after_the_grace<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    closes(&room, 1).await?;
    let (alice, other) = enter(&room, guest("alice").resume(&token)).await?;
    holds!(token != other, "the token came to life again");
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "close alice 1006 left, alice []", "connect alice"]);
    Ok(())
}

pub(super) async fn a_client_that_closes_with_1000_cannot_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    alice.close().await?;
    let users = until(&h, "alice to be gone", || presence(&room), |users| *users != ["alice x1"]).await?;
    same!(users.len(), 0);
    closes(&room, 1).await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "close alice 1000 left, alice []", "connect alice"]);
    Ok(())
}

pub(super) async fn a_client_that_closes_with_1001_can_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    alice.begin_close(1001, "").await?;
    same!(alice.closed().await?.0, 1001);
    is_present(&room, &["alice away"]).await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_peer_that_the_room_closes_cannot_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    // The room closes with 1001, a code that keeps the place if a client sends it.
    let (alice, token) = enter(&room, guest("alice")).await?;
    alice.run([leave(1001, "")]).await?;
    same!(alice.closed().await?.0, 1001);
    let users = until(&h, "alice to be gone", || presence(&room), |users| *users != ["alice x1"]).await?;
    same!(users.len(), 0);
    closes(&room, 1).await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "close alice 1001 left, alice []", "connect alice"]);
    Ok(())
}

pub(super) async fn a_resume_before_the_loss_is_noticed_closes_the_old_socket_with_1012<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (old, token) = enter(&room, guest("alice").tags(["x"])).await?;
    old.run([rename("Alicia")]).await?;
    let before = report_of(&old).await?;
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    same!(old.closed().await?, (1012, "resumed by a new connection".to_owned()));
    same!(report_of(&alice).await?, before);
    same!(presence(&room).await?, ["alice x1"]);
    h.pass(LONG).await;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_failing_on_resume_is_reported_and_changes_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    room.script("on_resume", [fail("oops")]).await?;
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "resume alice", "error on_resume alice: handler oops"]);
    same!(presence(&room).await?, ["alice x1"]);
    Ok(())
}

pub(super) async fn a_room_without_a_grace_sends_no_token<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").resume(&"0".repeat(32))).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice"]);
    Ok(())
}

// Rooms with `purge_after`

pub(super) async fn is_purged<H: Harness, R: Scripted>(room: &Room<H, R>) -> Result<()> {
    until(room.harness(), "the room to be purged", || room.state(), Option::is_none).await.map(drop)
}

pub(super) async fn a_room_that_all_peers_have_left_is_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.close().await?;
    closes(&room, 1).await?;
    bob.disconnect();
    closes(&room, 2).await?;
    is_purged(&room).await?;
    // The room has a new life, without the old state.
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice"]);
    Ok(())
}

pub(super) async fn a_room_that_is_joined_again_is_not_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.close().await?;
    closes(&room, 1).await?;
    let bob = room.connect(guest("bob")).await?;
    h.clone().pass(LONG).await;
    bob.fence().await?;
    same!(room.log().await?, ["connect alice", "close alice 1000 left, alice []", "connect bob"]);
    bob.close().await?;
    is_purged(&room).await
}

pub(super) async fn each_visit_restarts_the_time_until_the_purge<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.close().await?;
    closes(&room, 1).await?;
    h.clone().pass(Duration::from_secs(3)).await;
    room.connect(guest("bob")).await?.close().await?;
    closes(&room, 2).await?;
    // Without a visit, the room would be purged by now.
    h.clone().pass(Duration::from_secs(2)).await;
    same!(room.log().await?.len(), 4);
    is_purged(&room).await
}

pub(super) async fn a_room_with_a_peer_hibernates_and_is_not_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    alice.run([log("still here")]).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "still here"]);
    Ok(())
}

pub(super) async fn a_room_that_a_restart_has_emptied_is_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.fence().await?;
    room.restart().await?;
    same!(closes(&room, 1).await?, ["close alice 1006 lost, alice []"]);
    is_purged(&room).await
}

pub(super) async fn a_room_is_purged_although_its_last_on_close_panics<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").on_close([Step::Panic])).await?;
    alice.fence().await?;
    alice.close().await?;
    // Nothing but the purge wakes the room.
    h.clone().pass(LONG).await;
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_room_with_a_kept_place_is_not_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<inn::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    // Longer than `purge_after`.
    h.pass(Duration::from_secs(2)).await;
    same!(room.log().await?, ["connect alice"]);
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    alice.close().await?;
    is_purged(&room).await
}

pub(super) async fn a_kept_place_ends_although_other_peers_connect<H: Harness>(h: H) -> Result<()> {
    let room = room::<inn::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice")).await?;
    let (bob, _) = enter(&room, guest("bob")).await?;
    lose(&room, &alice, "alice").await?;
    bob.close().await?;
    // A visit to an empty room only delays the purge.
    let (carol, _) = enter(&room, guest("carol")).await?;
    same!(closes(&room, 2).await?.len(), 2);
    carol.fence().await
}

// Stored data of older code

pub(super) async fn a_state_of_this_version_is_not_migrated<H: Harness>(h: H) -> Result<()> {
    let room = room::<moved::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(3)]).await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Add(4), Step::Report]).await?)?.count, 7);
    same!(room.log().await?, ["connect alice"]);
    Ok(())
}

pub(super) async fn a_state_of_an_older_version_is_migrated_once(h: Memory) -> Result<()> {
    let room = room::<moved::Room, _>(&h, "r");
    h.room::<moved::Room>(room.id()).store_state("5");
    room.run([Step::Add(1)]).await?;
    for _ in 0..2 {
        room.hibernate().await?;
        // If the migrated state had no version yet, a state that is not a number would not migrate.
        same!(room.state().await?.map(|state| (state.count, state.log)), Some((6, vec!["migrated from 0".to_owned()])));
    }
    Ok(())
}

pub(super) async fn a_migrated_state_is_stored_when_a_handler_has_read_it(h: Memory) -> Result<()> {
    let room = room::<moved::Room, _>(&h, "r");
    let stored = h.room::<moved::Room>(room.id());
    stored.store_state("5");
    room.run([Step::Report]).await?;
    let json: Value = serde_json::from_str(&stored.stored_state().context("a state")?)?;
    same!(json["count"], 5);
    Ok(())
}

pub(super) async fn a_failing_migrate_is_a_typed_error_and_the_stored_state_stays(h: Memory) -> Result<()> {
    let room = room::<moved::Room, _>(&h, "r");
    let stored = h.room::<moved::Room>(room.id());
    stored.store_state("\"five\"");
    for _ in 0..2 {
        let error = is!(room.try_run([Step::Add(1)]).await?, Err(error) => error);
        same!(error.kind, ErrorKind::Decode);
        holds!(error.message.contains("from version 0 to 2"), "{:?}", error.message);
        is!(room.try_state().await?, Err(_));
        same!(stored.stored_state().as_deref(), Some("\"five\""));
        room.hibernate().await?;
    }
    // After a repair of the stored state, the room works again.
    stored.store_state("5");
    same!(room.count().await?, 5);
    Ok(())
}
