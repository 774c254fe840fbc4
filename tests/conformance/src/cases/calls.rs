//! The Worker's client.

use anyhow::Result;
use conformance_rooms::{
    api::Failed,
    plain, probe,
    script::{Broadcast, Event, State, Step},
};
use room_runtime::ErrorKind;

use super::steps::{fail, hold, log, open, report};
use crate::{
    harness::{Harness, Refusal, guest, room, room_called},
    memory::Memory,
};

type Probe = probe::Room;

fn does(steps: impl Into<Vec<Step>>) -> Event {
    Event::Do { steps: steps.into() }
}

pub(super) async fn an_event_of_the_worker_has_no_sender<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.run([Step::Add(2), Step::Report]).await?;
    let report = report(alice.next().await?)?;
    same!((report.sender, report.count, report.peers), (None, 2, vec!["alice".to_owned()]));
    Ok(())
}

pub(super) async fn a_call_ends_when_its_handler_ends<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.run([Step::Sleep(50), Step::Add(1)]).await?;
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn an_error_keeps_its_kind_its_text_and_its_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "räume ✨");
    let table = [
        (vec![fail("oops ✨")], ErrorKind::Handler, "oops ✨"),
        (vec![Step::FailTyped], ErrorKind::InvalidClose, "1005"),
        (vec![Step::Fill(2_000_001)], ErrorKind::ValueTooLarge, "2000000"),
        (vec![Step::Meta], ErrorKind::Handler, "there is no peer here"),
    ];
    for (steps, kind, text) in table {
        let error: Failed = is!(room.try_run(steps).await?, Err(error) => error);
        same!(error.kind, kind);
        holds!(error.message.contains(text), "{text:?} is missing in {error:?}");
        same!(error.room.as_deref(), Some(room.id()));
        holds!(error.display.contains(room.id()), "the room is missing in {error:?}");
        same!(error.retryable, false);
    }
    Ok(())
}

pub(super) async fn the_client_lists_peers_with_id_tags_data_and_time<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    same!(room.peers(None).await?.len(), 0);
    room.connect(guest("alice").name("Al").tags(["x", "y"])).await?;
    room.connect(guest("bob").tags(["y"])).await?;
    let peers = room.peers(None).await?;
    same!(peers.iter().map(|peer| peer.id.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    same!((&*peers[0].data.name, &*peers[0].tags), ("Al", &["x".to_owned(), "y".to_owned()][..]));
    holds!(peers[0].connected_at > 1_600_000_000_000, "{peers:?}");
    same!(room.peers(Some("x")).await?, peers[..1]);
    same!(room.peers(Some("y")).await?, peers);
    same!(room.peers(Some("z")).await?.len(), 0);
    // An id does not count as a tag.
    same!(room.peers(Some("alice")).await?.len(), 0);
    Ok(())
}

pub(super) async fn a_broadcast_reaches_everyone_and_says_how_many<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    same!(room.broadcast(Broadcast::Pong { n: 0 }).await?.sent, 0);
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let delivery = room.broadcast(Broadcast::Pong { n: 1 }).await?;
    same!((delivery.sent, delivery.failed.len(), delivery.unread.len()), (2, 0, 0));
    for peer in [&alice, &bob] {
        peer.expect(Broadcast::Pong { n: 1 }).await?;
    }
    Ok(())
}

pub(super) async fn a_broadcast_wakes_the_room_and_reaches_everyone_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.hibernate().await?;
    same!(room.broadcast(Broadcast::Pong { n: 1 }).await?.sent, 2);
    for peer in [&alice, &bob] {
        peer.expect(Broadcast::Pong { n: 1 }).await?;
        peer.fence().await?;
    }
    Ok(())
}

pub(super) async fn rooms_of_one_id_and_two_types_share_nothing<H: Harness>(h: H) -> Result<()> {
    let probe = room::<Probe, _>(&h, "r");
    let plain = room::<plain::Room, _>(&h, "r");
    same!(probe.id(), plain.id());
    probe.run([Step::Add(1)]).await?;
    same!((probe.count().await?, plain.state().await?), (1, None));
    Ok(())
}

pub(super) async fn an_invalid_room_id_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    for (id, text) in [(String::new(), "empty"), ("x".repeat(1_025), "1024"), ("ä".repeat(513), "1024")] {
        let room = room_called::<Probe, _>(&h, &id);
        let errors = [
            is!(room.try_run([Step::Add(1)]).await?, Err(error) => error),
            is!(room.try_send_once("key", does([Step::Add(1)])).await?, Err(error) => error),
            is!(room.try_state().await?, Err(error) => error),
            is!(room.try_peers(None).await?, Err(error) => error),
            is!(room.try_broadcast(Broadcast::Pong { n: 1 }, None).await?, Err(error) => error),
            is!(room.try_connect(guest("alice")).await?, Err(Refusal::Failed(error)) => error),
            is!(room.dialogue(guest("alice"), Vec::new()).await?, Err(error) => error),
        ];
        for error in errors {
            same!(error.kind, ErrorKind::InvalidRoomId);
            holds!(error.message.contains(text), "{text:?} is missing in {error:?}");
        }
    }
    Ok(())
}

pub(super) async fn a_room_id_may_be_as_long_as_the_limit<H: Harness>(h: H) -> Result<()> {
    let end = format!(".{}", h.scope().name());
    let room = room_called::<Probe, _>(&h, &format!("{}{end}", "x".repeat(1_024 - end.len())));
    let alice = room.connect(guest("alice")).await?;
    same!(report(alice.ask([Step::Report]).await?)?.room, room.id());
    Ok(())
}

// Idempotency.

pub(super) async fn the_same_call_with_the_same_key_runs_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for _ in 0..3 {
        same!(room.try_send_once("key", does([Step::Add(1)])).await?, Ok(()));
    }
    same!(room.count().await?, 1);
    // A different key is a different call; without a key, each call runs.
    same!(room.try_send_once("other", does([Step::Add(1)])).await?, Ok(()));
    room.run([Step::Add(1)]).await?;
    same!(room.count().await?, 3);
    Ok(())
}

pub(super) async fn the_same_call_with_the_same_key_at_the_same_time_runs_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let event = || does([log("ran"), hold("gate"), Step::Add(1)]);
    let first = h.begin(room.try_send_once("key", event()));
    alice.holding("gate").await?;
    let second = h.begin(room.try_send_once("key", event()));
    let third = h.begin(room.try_send_once("key", event()));
    alice.fence().await?;
    alice.run([open("gate")]).await?;
    for call in [first, second, third] {
        same!(call.await?, Ok(()));
    }
    alice.fence().await?;
    same!(
        room.state().await?.map(|state| (state.count, state.log)),
        Some((1, vec!["connect alice".into(), "ran".into()]))
    );
    Ok(())
}

pub(super) async fn an_idempotency_key_of_another_call_is_a_conflict<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    same!(room.try_send_once("key", does([Step::Add(1)])).await?, Ok(()));
    let error = is!(room.try_send_once("key", does([Step::Add(2)])).await?, Err(error) => error);
    same!(error.kind, ErrorKind::IdempotencyConflict);
    holds!(error.message.contains("key"), "{error:?}");
    let error = is!(room.try_broadcast(Broadcast::Pong { n: 1 }, Some("key")).await?, Err(error) => error);
    same!(error.kind, ErrorKind::IdempotencyConflict);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn an_idempotency_key_of_another_running_call_is_a_conflict<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let first = h.begin(room.try_send_once("key", does([hold("gate"), Step::Add(1)])));
    alice.holding("gate").await?;
    let error = is!(room.try_send_once("key", does([Step::Add(2)])).await?, Err(error) => error);
    same!(error.kind, ErrorKind::IdempotencyConflict);
    alice.run([open("gate")]).await?;
    same!(first.await?, Ok(()));
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn idempotency_keys_survive_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    same!(room.try_send_once("key", does([Step::Add(1)])).await?, Ok(()));
    room.hibernate().await?;
    same!(room.try_send_once("key", does([Step::Add(1)])).await?, Ok(()));
    let error = is!(room.try_send_once("key", does([Step::Add(2)])).await?, Err(error) => error);
    same!(error.kind, ErrorKind::IdempotencyConflict);
    same!(report(alice.ask([Step::Report]).await?)?.count, 1);
    Ok(())
}

pub(super) async fn a_failed_answer_is_stored_as_well<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let failing = || does([Step::Add(1), fail("oops")]);
    let first = room.try_send_once("key", failing()).await?;
    is!(&first, Err(Failed { kind: ErrorKind::Handler, .. }));
    same!(room.try_send_once("key", failing()).await?, first);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_broadcast_with_a_key_is_sent_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let message = || Broadcast::Pong { n: 1 };
    let first = room.try_broadcast(message(), Some("key")).await?;
    same!(first.as_ref().map(|delivery| delivery.sent), Ok(1));
    let bob = room.connect(guest("bob")).await?;
    same!(room.try_broadcast(message(), Some("key")).await?, first);
    alice.expect(message()).await?;
    alice.fence().await?;
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_key_that_is_empty_or_too_long_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for key in ["", &"x".repeat(257), &"ä".repeat(129)] {
        let error = is!(room.try_send_once(key, does([Step::Add(1)])).await?, Err(error) => error);
        same!(error.kind, ErrorKind::InvalidIdempotencyKey);
        holds!(error.message.contains("256"), "the limit is missing in {error:?}");
    }
    same!(room.try_send_once(&"ä".repeat(128), does([Step::Add(1)])).await?, Ok(()));
    same!(room.state().await?, Some(State { count: 1, ..State::default() }));
    Ok(())
}

pub(super) async fn a_room_remembers_the_last_1024_keys<H: Harness>(h: H) -> Result<()> {
    const KEPT: i64 = 1_024;
    let room = room::<plain::Room, _>(&h, "r");
    let call = |n: i64| h.begin(room.try_send_once(&format!("key {n}"), does([Step::Add(1)])));
    same!(call(0).await?, Ok(()));
    for chunk in (1..=KEPT).collect::<Vec<_>>().chunks(64) {
        for call in chunk.iter().map(|n| call(*n)).collect::<Vec<_>>() {
            same!(call.await?, Ok(()));
        }
    }
    same!(room.count().await?, KEPT + 1);
    // The oldest key was evicted. The youngest was not, and neither was the one that is now the oldest.
    same!(call(KEPT).await?, Ok(()));
    same!(room.count().await?, KEPT + 1);
    same!(call(0).await?, Ok(()));
    same!(room.count().await?, KEPT + 2);
    Ok(())
}

// Where rooms are.

pub(super) async fn a_room_within_a_jurisdiction_is_another_room(h: Memory) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.run([Step::Add(1)]).await?;
    let (eu, fedramp) = (room.clone().within("eu"), room.clone().within("fedramp"));
    same!((eu.state().await?, fedramp.state().await?), (None, None));
    eu.run([Step::Add(10)]).await?;
    same!((room.count().await?, eu.count().await?, fedramp.count().await?), (1, 10, 0));
    Ok(())
}

pub(super) async fn a_location_hint_leads_to_the_same_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.clone().near("weur").run([Step::Add(1)]).await?;
    room.clone().near("apac").run([Step::Add(10)]).await?;
    same!(room.count().await?, 11);
    let alice = room.clone().near("weur").connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.peer_ids().await?, ["alice"]);
    Ok(())
}
