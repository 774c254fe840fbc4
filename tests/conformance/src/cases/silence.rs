//! Rule 6: the option `peer_timeout`, for peers that send neither frames nor heartbeats.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    api::{Line, Said},
    lounge::{cot, dorm, ward},
    probe,
    script::{Broadcast, Event, Scripted, Step},
};
use room_runtime::{ErrorKind, OnDuplicate};

use super::{
    lounge::{closes, enter, is_present, presence},
    places::starts_unvisited,
    steps::say,
};
use crate::harness::{Harness, Peer, Room, guest, room, until};

/// The close of a client that the room has timed out.
fn timed_out() -> (u16, String) {
    (3_008, "no frame and no heartbeat arrived in time".to_owned())
}

/// Sends heartbeats until the peer is the only one in the room.
async fn outlives_others<H: Harness, R: Scripted>(room: &Room<H, R>, peer: &Peer<H, R>, id: &str) -> Result<()> {
    let ask = || async {
        peer.heartbeat().await?;
        room.peer_ids().await
    };
    until(room.harness(), "the silent peers to be gone", ask, |ids| *ids == [id]).await.map(drop)
}

pub(super) async fn a_silent_peer_is_closed_with_3008_and_leaves_as_a_lost_one<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob").tags(["x"])).await?;
    outlives_others(&room, &alice, "alice").await?;
    same!(bob.closed().await?, timed_out());
    same!(closes(&room, 1).await?, ["close bob 1006 left, bob [\"x\"]"]);
    same!(presence(&room).await?, ["alice x1"]);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_peer_that_sends_frames_needs_no_heartbeats<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let ask = || async {
        alice.fence().await?;
        room.peer_ids().await
    };
    until(&h, "bob to be gone", ask, |ids| *ids == ["alice"]).await?;
    same!(bob.closed().await?, timed_out());
    same!(closes(&room, 1).await?, ["close bob 1006 left, bob []"]);
    Ok(())
}

pub(super) async fn a_silent_peer_that_never_answers_has_one_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.mute();
    outlives_others(&room, &alice, "alice").await?;
    same!(closes(&room, 1).await?, ["close bob 1006 left, bob []"]);
    bob.disconnect();
    // The room gets the end of the connection before these frames, or soon after the first.
    for _ in 0..10 {
        alice.fence().await?;
    }
    alice.close().await?;
    same!(closes(&room, 2).await?, ["close alice 1000 left, alice []", "close bob 1006 left, bob []"]);
    Ok(())
}

pub(super) async fn a_silent_peer_keeps_its_place_for_the_grace<H: Harness>(h: H) -> Result<()> {
    let room = room::<cot::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    same!(alice.closed().await?, timed_out());
    is_present(&room, &["alice away"]).await?;
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    alice.fence().await?;
    same!(presence(&room).await?, ["alice x1"]);
    let before = ["connect alice", "away alice, here: false, send is Err(PeerGone)", "resume alice"];
    same!(room.log().await?, before);
    // The resumed connection has a timeout too, and then the grace ends.
    same!(alice.closed().await?, timed_out());
    same!(closes(&room, 1).await?, ["close alice 1006 left, alice [\"x\"]"]);
    same!(presence(&room).await?.len(), 0);
    same!(room.log().await?.len(), before.len() + 2);
    Ok(())
}

pub(super) async fn a_silent_peer_frees_its_place_in_a_full_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.mute();
    same!(room.refused(guest("carol")).await?.status(), 503);
    outlives_others(&room, &alice, "alice").await?;
    room.connect(guest("carol")).await?.fence().await?;
    Ok(())
}

pub(super) async fn a_silent_peer_is_no_duplicate_after_its_timeout<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let old = room.connect(guest("alice")).await?;
    old.mute();
    let again = || guest("alice").on_duplicate(OnDuplicate::Reject);
    same!(room.refused(again()).await?.status(), 409);
    until(&h, "alice to be gone", || room.peer_ids(), Vec::is_empty).await?;
    room.connect(again()).await?.fence().await?;
    same!(presence(&room).await?, ["alice x1"]);
    Ok(())
}

pub(super) async fn signs_of_life_survive_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<dorm::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice")).await?;
    let carol = room.connect(guest("carol")).await?;
    h.clone().pass(Duration::from_secs(5)).await;
    carol.fence().await?;
    room.hibernate().await?;
    // The platform answers without waking the room. The alarm wakes it some seconds later.
    let starts = room.starts().await?;
    alice.heartbeat().await?;
    same!(room.starts().await?, starts);
    same!(bob.closed().await?, timed_out());
    // Were their times lost, they would be closed together with bob.
    same!(presence(&room).await?, ["alice x1", "carol x1"]);
    same!(carol.closed().await?, timed_out());
    alice.fence().await?;
    same!(closes(&room, 2).await?, ["close bob 1006 left, bob []", "close carol 1006 left, carol []"]);
    Ok(())
}

pub(super) async fn a_silent_peer_is_found_after_a_crash<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    outlives_others(&room, &alice, "alice").await?;
    same!(bob.closed().await?, timed_out());
    same!(closes(&room, 1).await?, ["close bob 1006 left, bob []"]);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_restart_ends_peers_with_a_timeout_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.fence().await?;
    starts_unvisited(&room).await?;
    same!(closes(&room, 1).await?, ["close alice 1006 lost, alice []"]);
    Ok(())
}

pub(super) async fn a_worker_that_listens_stays_by_its_heartbeats<H: Harness>(h: H) -> Result<()> {
    let room = room::<ward::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let mut lines = vec![Line::Receive];
    for _ in 0..3 {
        lines.extend([Line::Heartbeat, Line::Receive]);
    }
    lines.push(Line::Receive);
    let talking = h.begin(room.dialogue(guest("bot"), lines));
    until(&h, "the bot", || room.peer_ids(), |ids| ids.len() == 2).await?;
    // Longer than the timeout in all, and no part of it is. After the last message the bot is silent.
    for n in 0..4 {
        alice.run([say(&n.to_string())]).await?;
        alice.hears(Some("alice"), &n.to_string()).await?;
        if n < 3 {
            h.clone().pass(Duration::from_millis(1_500)).await;
        }
    }
    outlives_others(&room, &alice, "alice").await?;
    let said = is!(talking.await?, Ok(said) => said);
    let message = |n: u32| Said::Message(Broadcast::Said { from: Some("alice".to_owned()), text: n.to_string() });
    let (code, reason) = timed_out();
    let rest = (1..4).flat_map(|n| [Said::Done, message(n)]);
    let all: Vec<_> = [message(0)].into_iter().chain(rest).chain([Said::Closed { code, reason }]).collect();
    same!(said, all);
    Ok(())
}

pub(super) async fn the_answer_to_a_heartbeat_of_the_worker_is_not_a_message<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let lines = vec![Line::Heartbeat, Line::Send(Event::Ping { n: 1 }), Line::Receive];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    same!(said, [Said::Done, Said::Done, Said::Message(Broadcast::Pong { n: 1 })]);
    same!(room.log().await?[..1], ["connect bot"]);
    Ok(())
}
