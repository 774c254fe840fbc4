//! Ownership of places.
//!
//! The cases cover sockets that end late, peers that resume while a handler runs, kept places, and losses that the room
//! notices without a visit.

use std::time::Duration;

use anyhow::{Context, Result};
use conformance_rooms::{
    lounge::{booth, guarded, hall, hut, inn, keep, lounge, motel, parlor},
    script::{Scripted, Step},
};
use room_runtime::{ErrorKind, OnDuplicate};

use super::{
    lounge::{LONG, closes, enter, is_present, is_purged, lose, presence, report_of},
    steps::{close, fail, hold, log, open, rename, say, with_id},
};
use crate::{
    harness::{Arrival, Harness, Peer, Room, guest, room, until},
    memory::Memory,
};

/// The time until a lost connection reaches the room.
const A_WHILE: Duration = Duration::from_secs(1);

/// Replaces a peer whose connection is half dead, and waits for its `on_close`.
async fn replace<H: Harness, R: Scripted>(room: &Room<H, R>) -> Result<(Peer<H, R>, Peer<H, R>)> {
    let old = room.connect(guest("alice").name("old")).await?;
    old.fence().await?;
    old.mute();
    let new = room.connect(guest("alice").name("new").on_duplicate(OnDuplicate::Replace)).await?;
    same!(closes(room, 1).await?, ["close alice 1012 left, old []"]);
    Ok((old, new))
}

/// Asserts that a peer is present and no close was logged, now and some time later.
async fn is_here_alone<H: Harness, R: Scripted>(
    h: &H,
    room: &Room<H, R>,
    peer: &Peer<H, R>,
    count: usize,
) -> Result<()> {
    h.clone().pass(A_WHILE).await;
    peer.fence().await?;
    same!(presence(room).await?, ["alice x1"]);
    same!(closes(room, count).await?.len(), count);
    Ok(())
}

// Sockets that end late

pub(super) async fn a_replaced_peer_whose_connection_ends_after_a_sleep_has_one_on_close<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let (old, new) = replace(&room).await?;
    room.hibernate().await?;
    old.disconnect();
    is_here_alone(&h, &room, &new, 1).await
}

pub(super) async fn a_replaced_peer_whose_connection_ends_after_a_crash_has_one_on_close<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let (old, new) = replace(&room).await?;
    new.run([Step::Panic]).await?;
    same!(new.next_error().await?.code, ErrorKind::Restarted);
    old.disconnect();
    is_here_alone(&h, &room, &new, 1).await
}

pub(super) async fn a_replaced_peer_whose_handler_waited_has_one_on_close_after_a_crash<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let old = room.connect(guest("alice").name("old")).await?;
    old.run([hold("gate")]).await?;
    old.holding("gate").await?;
    let new = room.connect(guest("alice").name("new").on_duplicate(OnDuplicate::Replace)).await?;
    same!(old.closed().await?.0, 1012);
    // The close is answered; its `on_close` waits for the running handler.
    h.clone().pass(A_WHILE).await;
    new.run([Step::Panic]).await?;
    same!(new.next_error().await?.code, ErrorKind::Restarted);
    same!(closes(&room, 1).await?, ["close alice 1012 left, old []"]);
    is_here_alone(&h, &room, &new, 1).await
}

pub(super) async fn a_resumed_peer_keeps_its_place_when_its_old_connection_ends_after_a_sleep<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (old, token) = enter(&room, guest("alice")).await?;
    old.fence().await?;
    old.mute();
    let (new, _) = enter(&room, guest("alice").resume(&token)).await?;
    new.fence().await?;
    room.hibernate().await?;
    old.disconnect();
    is_here_alone(&h, &room, &new, 0).await?;
    // The peer does not count as away either.
    h.pass(LONG).await;
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_resumed_peer_keeps_its_place_when_on_resume_panics<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (old, token) = enter(&room, guest("alice")).await?;
    old.fence().await?;
    old.mute();
    room.script("on_resume", [Step::Panic]).await?;
    let (new, _) = enter(&room, guest("alice").resume(&token)).await?;
    room.script("on_resume", []).await?;
    old.disconnect();
    is_here_alone(&h, &room, &new, 0).await?;
    h.pass(LONG).await;
    same!(closes(&room, 0).await?.len(), 0);
    Ok(())
}

/// Makes a room close a peer that does not answer.
async fn kick<H: Harness>(room: &Room<H, lounge::Room>) -> Result<(Peer<H, lounge::Room>, String)> {
    let (alice, token) = enter(room, guest("alice")).await?;
    alice.fence().await?;
    alice.mute();
    room.run([close([with_id("alice")], 4000, "out")]).await?;
    same!(room.peer_ids().await?.len(), 0);
    Ok((alice, token))
}

pub(super) async fn a_kicked_peer_that_does_not_answer_cannot_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (_alice, token) = kick(&room).await?;
    let (alice, other) = enter(&room, guest("alice").resume(&token)).await?;
    holds!(token != other, "the token of a kicked peer works");
    alice.fence().await?;
    same!(presence(&room).await?, ["alice x1"]);
    Ok(())
}

pub(super) async fn a_kicked_peer_that_does_not_answer_is_gone_after_a_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = kick(&room).await?;
    room.hibernate().await?;
    // `on_close` no longer waits for the answer of the peer.
    same!(closes(&room, 1).await?, ["close alice 4000 left, alice []"]);
    same!(room.peer_ids().await?.len(), 0);
    same!(presence(&room).await?.len(), 0);
    alice.disconnect();
    h.clone().pass(A_WHILE).await;
    let (new, other) = enter(&room, guest("alice").resume(&token)).await?;
    holds!(token != other, "the token of a kicked peer works");
    is_here_alone(&h, &room, &new, 1).await
}

pub(super) async fn a_kicked_peer_that_is_lost_while_the_room_sleeps_keeps_no_place<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = kick(&room).await?;
    room.hibernate().await?;
    alice.disconnect();
    same!(closes(&room, 1).await?, ["close alice 4000 left, alice []"]);
    let (_, other) = enter(&room, guest("alice").resume(&token)).await?;
    holds!(token != other, "the token of a kicked peer works");
    closes(&room, 1).await?;
    Ok(())
}

pub(super) async fn a_purged_connection_that_ends_after_a_sleep_has_no_effect<H: Harness>(h: H) -> Result<()> {
    let room = room::<hut::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    alice.mute();
    room.run([Step::Purge]).await?;
    let bob = room.connect(guest("bob")).await?;
    same!(room.peer_ids().await?, ["bob"]);
    room.hibernate().await?;
    same!(room.peer_ids().await?, ["bob"]);
    alice.disconnect();
    h.clone().pass(A_WHILE).await;
    bob.fence().await?;
    same!(room.log().await?, ["connect bob"]);
    Ok(())
}

// Peers that resume while a handler runs

pub(super) async fn a_peer_whose_loss_is_noticed_while_its_handler_runs_can_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (bob, _) = enter(&room, guest("bob")).await?;
    let (old, token) = enter(&room, guest("alice").tags(["x"])).await?;
    old.run([rename("Alicia"), hold("gate"), log("ended")]).await?;
    old.holding("gate").await?;
    bob.holding("gate").await?;
    let before = bob.ask([Step::Select(vec![with_id("alice")])]).await?;
    old.disconnect();
    let gone = |ids: &Vec<String>| ids == &["bob"];
    until(&h, "alice to be lost", || room.peer_ids(), gone).await?;
    let (new, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    same!(bob.ask([Step::Select(vec![with_id("alice")])]).await?, before);
    bob.run([open("gate")]).await?;
    let report = report_of(&new).await?;
    same!((&*report.name, &*report.tags), ("Alicia", &["x".to_owned()][..]));
    h.pass(LONG).await;
    same!(room.log().await?, ["connect bob", "connect alice", "ended", "resume alice"]);
    Ok(())
}

pub(super) async fn frames_queued_on_the_old_connection_are_handled_before_on_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (bob, _) = enter(&room, guest("bob")).await?;
    let (old, token) = enter(&room, guest("alice")).await?;
    old.run([hold("gate")]).await?;
    old.holding("gate").await?;
    bob.holding("gate").await?;
    old.run([log("queued"), Step::Whisper("to the new connection".to_owned())]).await?;
    old.heartbeat().await?;
    let (new, _) = enter(&room, guest("alice").resume(&token)).await?;
    new.run([log("new")]).await?;
    same!(old.closed().await?.0, 1012);
    bob.run([open("gate")]).await?;
    new.hears(Some("alice"), "to the new connection").await?;
    new.fence().await?;
    same!(room.log().await?, ["connect bob", "connect alice", "queued", "resume alice", "new"]);
    Ok(())
}

pub(super) async fn frames_queued_before_a_kick_are_dropped<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice")).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    alice.run([log("queued")]).await?;
    alice.heartbeat().await?;
    room.run([close([with_id("alice")], 4000, "out"), open("gate")]).await?;
    same!(alice.closed().await?.0, 4000);
    closes(&room, 1).await?;
    same!(room.log().await?, ["connect alice", "close alice 4000 left, alice []"]);
    Ok(())
}

pub(super) async fn the_resume_token_is_the_first_frame_of_a_connection<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    room.script("on_resume", [Step::Whisper("back".to_owned())]).await?;
    let (alice, token) = enter(&room, guest("alice").on_connect([Step::Whisper("hello".to_owned())])).await?;
    alice.hears(Some("alice"), "hello").await?;
    lose(&room, &alice, "alice").await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.hears(Some("alice"), "back").await?;
    alice.fence().await
}

pub(super) async fn on_away_runs_when_a_connection_is_lost_and_not_when_it_is_closed<H: Harness>(h: H) -> Result<()> {
    let room = room::<parlor::Room, _>(&h, "r");
    room.script("on_away", [say("somebody is away")]).await?;
    let (bob, _) = enter(&room, guest("bob")).await?;
    let (alice, token) = enter(&room, guest("alice")).await?;
    alice.disconnect();
    bob.hears(Some("alice"), "somebody is away").await?;
    let away = "away alice, here: false, send is Err(PeerGone)";
    same!(room.log().await?, ["connect bob", "connect alice", away]);
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.close().await?;
    let close = "close alice 1000 left, alice []";
    closes(&room, 1).await?;
    same!(room.log().await?, ["connect bob", "connect alice", away, "resume alice", close]);
    Ok(())
}

pub(super) async fn a_peer_that_resumes_after_a_sleep_while_on_away_waits_is_served<H: Harness>(h: H) -> Result<()> {
    let room = room::<parlor::Room, _>(&h, "r");
    room.script("on_away", [hold("gate")]).await?;
    let (bob, _) = enter(&room, guest("bob")).await?;
    let (alice, token) = enter(&room, guest("alice")).await?;
    room.hibernate().await?;
    alice.disconnect();
    bob.holding("gate").await?;
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    room.run([open("gate")]).await?;
    same!(report_of(&alice).await?.id, "alice");
    Ok(())
}

pub(super) async fn a_resume_with_replace_closes_the_other_connections_of_its_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    let (other, _) = enter(&room, guest("alice").name("other")).await?;
    alice.disconnect();
    is_present(&room, &["alice x1"]).await?;
    let (alice, again) = enter(&room, guest("alice").on_duplicate(OnDuplicate::Replace).resume(&token)).await?;
    same!(again, token);
    same!(other.closed().await?, (1012, "replaced by a new connection".to_owned()));
    same!(closes(&room, 1).await?, ["close alice 1012 left, other []"]);
    same!(room.peer_ids().await?, ["alice"]);
    alice.fence().await
}

pub(super) async fn an_on_away_that_fails_is_reported_and_the_peer_can_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<parlor::Room, _>(&h, "r");
    room.script("on_away", [fail("oops")]).await?;
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    alice.fence().await?;
    let log = room.log().await?;
    same!(log[2..], ["error on_away alice: handler oops", "resume alice"]);
    Ok(())
}

// Kept places

pub(super) async fn a_kept_place_counts_as_taken_and_its_peer_can_resume<H: Harness>(h: H) -> Result<()> {
    let room = room::<booth::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    let (_bob, _) = enter(&room, guest("bob")).await?;
    lose(&room, &alice, "alice").await?;
    same!(room.refused(guest("carol")).await?.status(), 503);
    let (_alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    same!(room.refused(guest("carol")).await?.status(), 503);
    Ok(())
}

pub(super) async fn a_peer_whose_old_connection_is_half_dead_resumes_into_a_full_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<booth::Room, _>(&h, "r");
    let (old, token) = enter(&room, guest("alice")).await?;
    let (_bob, _) = enter(&room, guest("bob")).await?;
    old.mute();
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    alice.fence().await?;
    same!(room.refused(guest("carol")).await?.status(), 503);
    Ok(())
}

pub(super) async fn a_kept_place_is_free_after_the_grace<H: Harness>(h: H) -> Result<()> {
    let room = room::<booth::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice")).await?;
    let (_bob, _) = enter(&room, guest("bob")).await?;
    lose(&room, &alice, "alice").await?;
    closes(&room, 1).await?;
    enter(&room, guest("carol")).await?.0.fence().await
}

pub(super) async fn a_replacing_peer_without_a_token_ends_the_kept_place_at_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").name("old")).await?;
    lose(&room, &alice, "alice").await?;
    let new = guest("alice").name("new").on_duplicate(OnDuplicate::Replace);
    let (new, other) = enter(&room, new).await?;
    holds!(token != other, "a new peer has the token of the old");
    // At once, not after `reconnect_grace`.
    new.fence().await?;
    same!(room.log().await?, ["connect alice", "connect alice", "close alice 1006 left, old []"]);
    is_here_alone(&h, &room, &new, 1).await?;
    h.pass(LONG).await;
    same!(room.log().await?, ["connect alice", "connect alice", "close alice 1006 left, old []"]);
    Ok(())
}

// Losses that the room notices without a visit

/// Waits until the room is loaded into memory without a visit.
pub(super) async fn starts_unvisited<H: Harness, R: Scripted>(room: &Room<H, R>) -> Result<()> {
    let before = room.starts().await?;
    room.restart().await?;
    // Backstage counts the starts, so asking is not a visit. A restart may reset the count.
    let after = room.starts().await?;
    let before = if after < before { after } else { before };
    until(room.harness(), "the room to start by itself", || room.starts(), |starts| *starts > before).await.map(drop)
}

pub(super) async fn a_restart_is_noticed_without_a_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<guarded::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x"])).await?;
    alice.fence().await?;
    starts_unvisited(&room).await?;
    same!(room.log().await?, ["connect alice", "close alice 1006 lost, alice [\"x\"]"]);
    Ok(())
}

pub(super) async fn a_restart_after_a_sleep_is_noticed_without_a_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<guarded::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    let starts = room.starts().await?;
    room.leave_alone().await?;
    // The watchdog wakes the hibernating room, and is set again.
    until(&h, "the alarm", || room.starts(), |now| *now > starts).await?;
    starts_unvisited(&room).await?;
    same!(room.log().await?, ["connect alice", "close alice 1006 lost, alice []"]);
    Ok(())
}

pub(super) async fn a_kept_place_ends_after_a_restart_without_a_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<keep::Room, _>(&h, "r");
    enter(&room, guest("alice")).await?;
    starts_unvisited(&room).await?;
    // `reconnect_grace` counts from the time when the loss was noticed.
    h.pass(Duration::from_secs(4)).await;
    same!(room.log().await?, ["connect alice", "close alice 1006 lost, alice []"]);
    Ok(())
}

pub(super) async fn a_room_is_purged_after_a_restart_without_a_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<hut::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.fence().await?;
    starts_unvisited(&room).await?;
    h.clone().pass(Duration::from_secs(5)).await;
    same!(room.state().await?.is_none(), true);
    Ok(())
}

// Empty rooms

pub(super) async fn a_room_without_on_close_is_purged_when_all_peers_have_left<H: Harness>(h: H) -> Result<()> {
    let room = room::<hut::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.close().await?;
    is_purged(&room).await
}

pub(super) async fn a_room_that_was_never_joined_is_not_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<hut::Room, _>(&h, "r");
    room.run([log("set up")]).await?;
    let refused = room.connect(guest("alice").on_connect([fail("oops")])).await?;
    same!(refused.closed().await?.0, 1011);
    h.pass(LONG).await;
    same!(room.log().await?, ["set up", "connect alice", "error on_connect alice: handler oops"]);
    Ok(())
}

pub(super) async fn a_room_whose_last_peer_was_lost_in_a_panic_is_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<motel::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.close().await?;
    closes(&room, 1).await?;
    // A visit whose `on_connect` panics.
    let bob = room.connect(guest("bob").on_connect([Step::Panic])).await?;
    same!(bob.closed().await?.0, 1011);
    is_purged(&room).await
}

pub(super) async fn a_room_is_purged_although_a_kicked_peer_never_answers<H: Harness>(h: H) -> Result<()> {
    let room = room::<hut::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    alice.mute();
    room.run([close([with_id("alice")], 4000, "out")]).await?;
    room.hibernate().await?;
    room.log().await?;
    is_purged(&room).await
}

// Storage that fails

pub(super) async fn a_resume_that_cannot_be_stored_leaves_the_place_to_the_old_connection(h: Memory) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let stored = h.room::<lounge::Room>(room.id());
    let (old, token) = enter(&room, guest("alice")).await?;
    stored.fail_writes(true);
    let new = room.connect(guest("alice").resume(&token)).await?;
    same!(new.closed().await?.0, 1011);
    stored.fail_writes(false);
    // The old connection still belongs to its peer.
    old.fence().await?;
    same!(presence(&room).await?, ["alice x1"]);
    let (new, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    new.fence().await?;
    same!(old.closed().await?.0, 1012);
    same!(room.log().await?, ["connect alice", "resume alice"]);
    Ok(())
}

pub(super) async fn a_resume_that_cannot_be_stored_can_be_retried(h: Memory) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let stored = h.room::<lounge::Room>(room.id());
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    stored.fail_writes(true);
    let new = room.connect(guest("alice").resume(&token)).await?;
    same!(new.closed().await?.0, 1011);
    stored.fail_writes(false);
    same!(presence(&room).await?, ["alice away"]);
    let (new, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    new.fence().await
}

pub(super) async fn a_room_whose_storage_fails_admits_a_peer_completely_or_not_at_all(h: Memory) -> Result<()> {
    let room = room::<inn::Room, _>(&h, "r");
    let stored = h.room::<inn::Room>(room.id());
    room.run([log("here")]).await?;
    stored.fail_reads(true);
    stored.fail_writes(true);
    if let Ok(peer) = room.try_connect(guest("alice")).await? {
        let mut arrival = peer.next_of_any_kind().await?;
        while let Arrival::Text(_) = arrival {
            arrival = peer.next_of_any_kind().await?;
        }
        is!(arrival, Arrival::Closed(1011, _));
    }
    stored.fail_reads(false);
    stored.fail_writes(false);
    same!(room.peer_ids().await?.len(), 0);
    same!(room.broadcast(conformance_rooms::script::Broadcast::Pong { n: 1 }).await?.sent, 0);
    let (alice, _) = enter(&room, guest("alice")).await.context("the storage works again")?;
    alice.close().await?;
    is_purged(&room).await
}
