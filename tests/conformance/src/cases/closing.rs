//! Rule 6: how a connection ends.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Broadcast, Step},
};
use room_runtime::ErrorKind;

use super::steps::{attempt, close, leave, report, tagged, whisper, with_id};
use crate::{
    harness::{Harness, Room, guest, room, until},
    workerd::Workerd,
};

type Probe = probe::Room;

/// Waits until `on_close` has logged `count` lines, and returns them.
async fn closes<H: Harness>(room: &Room<H, Probe>, count: usize) -> Result<Vec<String>> {
    let closes = |log: &Vec<String>| log.iter().filter(|line| line.starts_with("close ")).cloned().collect::<Vec<_>>();
    let what = format!("{count} times on_close");
    let log = until(room.harness(), &what, || room.log(), |log| closes(log).len() >= count).await?;
    same!(closes(&log).len(), count);
    Ok(closes(&log))
}

pub(super) async fn a_clients_close_is_answered_with_its_code_and_reason<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let codes = [(1000, "done"), (1001, ""), (1008, "policy"), (3000, "x"), (4999, "bis später ✨")];
    for (index, (code, reason)) in codes.into_iter().enumerate() {
        let alice = room.connect(guest("alice")).await?;
        alice.begin_close(code, reason).await?;
        same!(alice.closed().await?, (code, reason.to_owned()));
        let closes = closes(&room, index + 1).await?;
        same!(closes[index], format!("close alice {code} {reason:?} clean, [] left, send is Err(PeerGone)"));
    }
    Ok(())
}

pub(super) async fn a_close_without_a_code_is_1005_and_is_answered(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.socket().client().close_without_code().await?;
    same!(alice.closed().await?, (1005, String::new()));
    same!(closes(&room, 1).await?, ["close alice 1005 \"\" clean, [] left, send is Err(PeerGone)"]);
    Ok(())
}

pub(super) async fn an_invalid_close_code_still_closes_the_connection(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let code = |code: u16| code.to_be_bytes().to_vec();
    let payloads =
        [vec![3], code(0), code(999), code(1004), code(1005), code(1006), code(1015), code(2999), code(5000)];
    for (index, payload) in payloads.iter().enumerate() {
        let eve = room.connect(guest("eve")).await?;
        eve.socket().client().close_raw(payload.clone()).await?;
        eve.closed().await?;
        closes(&room, index + 1).await?;
        same!(report(bob.ask([Step::Report]).await?)?.peers, ["bob"]);
    }
    Ok(())
}

pub(super) async fn a_lost_connection_is_1006<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.disconnect();
    let closes = closes(&room, 1).await?;
    holds!(closes[0].starts_with("close alice 1006 "), "{closes:?}");
    holds!(closes[0].contains(" lost, [\"bob\"] left"), "{closes:?}");
    same!(report(bob.ask([Step::Report]).await?)?.peers, ["bob"]);
    Ok(())
}

pub(super) async fn a_lost_connection_gives_no_reason<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.connect(guest("alice")).await?.disconnect();
    same!(closes(&room, 1).await?, ["close alice 1006 \"\" lost, [] left, send is Err(PeerGone)"]);
    Ok(())
}

pub(super) async fn the_room_closes_with_its_own_code_and_reason<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([leave(4_001, "bye")]).await?;
    same!(alice.closed().await?, (4_001, "bye".to_owned()));
    same!(closes(&room, 1).await?, ["close alice 4001 \"bye\" clean, [] left, send is Err(PeerGone)"]);
    Ok(())
}

pub(super) async fn messages_sent_before_a_close_arrive_before_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([whisper("one"), whisper("two"), leave(1000, ""), attempt(whisper("three"))]).await?;
    alice.hears(Some("alice"), "one").await?;
    alice.hears(Some("alice"), "two").await?;
    same!(alice.closed().await?, (1000, String::new()));
    Ok(())
}

pub(super) async fn a_closed_peer_is_gone_from_peers_at_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([close([with_id("bob")], 4_000, ""), Step::Report]).await?;
    alice.expect(Broadcast::Closed { count: 1, left: vec!["alice".to_owned()] }).await?;
    same!(report(alice.next().await?)?.peers, ["alice"]);
    same!(room.peer_ids().await?, ["alice"]);
    same!(bob.closed().await?.0, 4_000);
    Ok(())
}

pub(super) async fn sending_to_a_peer_that_is_closed_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    // The peer's own handler continues after the close.
    alice.run([leave(1000, ""), whisper("too late")]).await?;
    same!(alice.closed().await?.0, 1000);
    closes(&room, 1).await?;
    bob.fence().await?;
    let log = room.log().await?;
    let error = log.iter().find(|line| line.starts_with("error on_event alice: peer_gone"));
    holds!(error.is_some(), "{log:?}");
    Ok(())
}

pub(super) async fn closing_a_selection_returns_the_number_of_peers<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob").tags(["x"])).await?;
    let carol = room.connect(guest("carol").tags(["x"])).await?;
    // The second close finds no open peers.
    alice.run([close([tagged("x")], 4_002, "x"), close([tagged("x")], 4_003, "again")]).await?;
    for count in [2, 0] {
        alice.expect(Broadcast::Closed { count, left: vec!["alice".to_owned()] }).await?;
    }
    for peer in [&bob, &carol] {
        same!(peer.closed().await?, (4_002, "x".to_owned()));
    }
    Ok(())
}

pub(super) async fn all_peers_may_be_closed_at_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.run([close([], 1001, "closing time")]).await?;
    for peer in [&alice, &bob] {
        same!(peer.closed().await?, (1001, "closing time".to_owned()));
    }
    closes(&room, 2).await?;
    same!(room.peer_ids().await?.len(), 0);
    Ok(())
}

pub(super) async fn a_close_that_cannot_be_sent_is_a_typed_error_and_closes_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let outcome = async |step: Step| -> Result<(Option<ErrorKind>, String)> {
        alice.run([attempt(step)]).await?;
        Ok(is!(alice.next().await?, Broadcast::Outcome { kind, message } => (kind, message)))
    };
    for code in [0, 999, 1004, 1005, 1006, 1015, 5_000, u16::MAX] {
        let (kind, message) = outcome(leave(code, "")).await?;
        same!(kind, Some(ErrorKind::InvalidClose));
        holds!(message.contains(&code.to_string()), "the code {code} is missing in {message:?}");
    }
    // 62 times two bytes.
    for reason in ["x".repeat(124), "ä".repeat(62)] {
        for step in [leave(1000, &reason), close([], 1000, &reason)] {
            let (kind, message) = outcome(step).await?;
            same!(kind, Some(ErrorKind::InvalidClose));
            holds!(message.contains("123") && message.contains("124"), "the limit is missing in {message:?}");
        }
    }
    alice.fence().await?;
    // The longest valid reason.
    let longest = format!("{}x", "ä".repeat(61));
    alice.run([leave(1000, &longest)]).await?;
    same!(alice.closed().await?, (1000, longest));
    Ok(())
}

pub(super) async fn on_close_runs_once_though_both_sides_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for round in 1..=5 {
        let bob = room.connect(guest("bob")).await?;
        alice.run([close([with_id("bob")], 4_000, "room")]).await?;
        bob.begin_close(4_001, "client").await?;
        bob.closed().await?;
        is!(alice.next().await?, Broadcast::Closed { .. });
        closes(&room, round).await?;
    }
    alice.fence().await?;
    closes(&room, 5).await?;
    same!(room.peer_ids().await?, ["alice"]);
    Ok(())
}

pub(super) async fn a_peer_that_closes_while_the_room_sleeps_gets_its_answer_and_its_on_close<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.connect(guest("bob")).await?;
    room.hibernate().await?;
    alice.begin_close(4_004, "slept well").await?;
    same!(alice.closed().await?, (4_004, "slept well".to_owned()));
    let line = "close alice 4004 \"slept well\" clean, [\"bob\"] left, send is Err(PeerGone)";
    same!(closes(&room, 1).await?, [line]);
    Ok(())
}

pub(super) async fn a_connection_that_is_lost_while_the_room_sleeps_gets_its_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.connect(guest("bob")).await?;
    room.hibernate().await?;
    alice.disconnect();
    let closes = closes(&room, 1).await?;
    holds!(closes[0].starts_with("close alice 1006 "), "{closes:?}");
    same!(room.peer_ids().await?, ["bob"]);
    Ok(())
}

pub(super) async fn a_peer_that_left_is_no_ghost_after_a_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.connect(guest("bob")).await?.close().await?;
    let carol = room.connect(guest("carol")).await?;
    room.connect(guest("dave")).await?.disconnect();
    alice.run([close([with_id("carol")], 4_000, "")]).await?;
    is!(alice.next().await?, Broadcast::Closed { count: 1, .. });
    same!(carol.closed().await?.0, 4_000);
    closes(&room, 3).await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Report]).await?)?.peers, ["alice"]);
    same!(room.peer_ids().await?, ["alice"]);
    closes(&room, 3).await?;
    Ok(())
}
