//! Rule 9: a handler that panics or crashes in another way.
//!
//! On workerd a crash ends the WebAssembly instance, together with the memory of all rooms of the isolate.

use anyhow::{Context, Result, bail};
use conformance_rooms::{
    probe,
    script::{Crash, Event, Step, UpgradeStep},
};
use hyper::{Request, body::Bytes};
use room_runtime::ErrorKind;

use super::steps::{hold, log, open, rename, report, say, sender};
use crate::harness::{Harness, Room, StayedAwake, guest, room, until};

type Probe = probe::Room;

pub(super) async fn a_panic_is_reported_to_the_sender_of_each_lost_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    alice.run([hold("gate")]).await?;
    alice.run([say("queued")]).await?;
    for peer in [&alice, &bob, &carol] {
        peer.holding("gate").await?;
    }
    // The platform answers the heartbeat itself. Its answer shows that the queued frame has arrived.
    alice.heartbeat().await?;
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    for _ in 0..2 {
        same!(alice.next_error().await?.code, ErrorKind::Restarted);
    }
    for peer in [&alice, &bob, &carol] {
        peer.fence().await?;
    }
    Ok(())
}

pub(super) async fn a_panic_loses_no_connection_no_data_and_no_state<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x"])).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([rename("Alice"), Step::Add(5)]).await?;
    let before = sender(alice.ask([Step::Report]).await?)?;
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    let after = report(alice.ask([Step::Report]).await?)?;
    same!(after.sender, Some(before));
    same!((after.count, after.peers), (5, vec!["alice".to_owned(), "bob".to_owned()]));
    same!(room.log().await?, ["connect alice", "connect bob"]);
    bob.run([say("still here")]).await?;
    alice.hears(Some("bob"), "still here").await?;
    Ok(())
}

pub(super) async fn a_panic_after_a_wait_is_like_any_other<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for round in 1..=3 {
        alice.run([Step::Add(1), Step::Sleep(5), Step::Panic]).await?;
        same!(alice.next_error().await?.code, ErrorKind::Restarted);
        same!(room.count().await?, round);
    }
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_panic_is_a_typed_error_for_its_call<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for steps in [vec![Step::Panic], vec![Step::Sleep(5), Step::Panic]] {
        let error = is!(room.try_run(steps).await?, Err(error) => error);
        same!(error.kind, ErrorKind::Restarted);
        same!(error.room, Some(room.id().to_owned()));
        holds!(error.retryable, "{error:?}");
        room.run([Step::Add(1)]).await?;
    }
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_panic_is_a_typed_error_for_every_call_in_flight<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let call = h.begin(room.try_run([Step::Add(1), hold("gate"), Step::Add(1)]));
    alice.holding("gate").await?;
    alice.run([Step::Panic]).await?;
    let error = is!(call.await?, Err(error) => error);
    same!(error.kind, ErrorKind::Restarted);
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_panic_in_on_request_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let body = serde_json::to_vec(&[Step::Add(1), Step::Sleep(1), Step::Panic])?;
    let request = Request::post("https://room/do").body(Bytes::from(body))?;
    let error = is!(room.try_request(request).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Restarted);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_panic_in_on_upgrade_is_a_typed_error_and_admits_no_peer<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let error = room.failed(guest("eve").on_upgrade([UpgradeStep::Panic])).await?;
    same!(error.kind, ErrorKind::Restarted);
    same!(room.peer_ids().await?, ["bob"]);
    bob.fence().await?;
    Ok(())
}

/// A guest whose `on_connect` panics is accepted, then closed, and leaves no trace in the room.
async fn panics_on_connect<H: Harness>(h: H, steps: Vec<Step>) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let eve = room.connect(guest("eve").on_connect(steps)).await?;
    same!(eve.closed().await?.0, 1011);
    same!(room.peer_ids().await?, ["bob"]);
    bob.fence().await?;
    let log = room.log().await?;
    holds!(!log.iter().any(|line| line.starts_with("close ")), "on_close of a peer that was never admitted: {log:?}");
    Ok(())
}

pub(super) async fn a_panic_in_on_connect_closes_with_1011_and_leaves_no_ghost<H: Harness>(h: H) -> Result<()> {
    panics_on_connect(h, vec![Step::Sleep(20), Step::Panic]).await
}

pub(super) async fn a_panic_at_the_start_of_on_connect_is_like_any_other<H: Harness>(h: H) -> Result<()> {
    panics_on_connect(h, vec![Step::Panic]).await
}

pub(super) async fn a_panic_in_on_close_leaves_no_ghost_and_on_close_runs_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").on_close([say("alice goes"), Step::Sleep(5), Step::Panic])).await?;
    // The call ends with the panic, which shows nowhere else.
    let held = h.begin(room.try_run([hold("gate")]));
    bob.holding("gate").await?;
    alice.holding("gate").await?;
    alice.begin_close(1000, "").await?;
    same!(alice.closed().await?, (1000, String::new()));
    bob.hears(Some("alice"), "alice goes").await?;
    same!(is!(held.await?, Err(error) => error).kind, ErrorKind::Restarted);
    until(&h, "alice to be gone", || room.peer_ids(), |ids| ids == &["bob"]).await?;
    room.hibernate().await?;
    same!(report(bob.ask([Step::Report]).await?)?.peers, ["bob"]);
    let log = room.log().await?;
    same!(log.iter().filter(|line| line.starts_with("close alice")).count(), 1);
    Ok(())
}

pub(super) async fn a_close_completes_and_on_close_runs_once_when_a_panic_interrupts_it<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").on_close([say("alice goes"), hold("gate"), say("too late")])).await?;
    alice.begin_close(4000, "bye").await?;
    bob.hears(Some("alice"), "alice goes").await?;
    bob.holding("gate").await?;
    bob.run([Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    same!(alice.closed().await?, (4000, "bye".to_owned()));
    until(&h, "alice to be gone", || room.peer_ids(), |ids| ids == &["bob"]).await?;
    let log = room.log().await?;
    same!(log.iter().filter(|line| line.starts_with("close alice")).count(), 1);
    Ok(())
}

pub(super) async fn a_panic_in_spawned_work_ends_other_running_work_and_nothing_more<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate")]).await?;
    bob.holding("gate").await?;
    bob.run([Step::Spawn(vec![Step::Add(1), Step::Sleep(20), Step::Panic])]).await?;
    alice.holding("gate").await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    for peer in [&alice, &bob] {
        peer.fence().await?;
    }
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_panic_in_on_start_is_a_typed_error_and_on_start_runs_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.script("on_start", [log("start"), Step::Sleep(1), Step::Panic]).await?;
    let error = is!(room.try_run([log("event")]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Restarted);
    room.script("on_start", [log("start again")]).await?;
    room.run([log("event")]).await?;
    same!(room.log().await?, ["start", "start again", "event"]);
    Ok(())
}

pub(super) async fn a_room_that_panicked_still_hibernates<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([hold("gate")]).await?;
    bob.holding("gate").await?;
    bob.run([Step::Sleep(5), Step::Panic]).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    alice.holding("gate").await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    room.hibernate().await?;
    alice.run([say("awake")]).await?;
    for peer in [&alice, &bob] {
        peer.hears(Some("alice"), "awake").await?;
    }
    Ok(())
}

pub(super) async fn a_panic_may_be_the_first_event_after_a_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([rename("Alice"), Step::Add(1)]).await?;
    alice.fence().await?;
    // `leave_alone` instead of `hibernate`, because the panic erases the nap that backstage would verify.
    room.script("on_start", [log("awake")]).await?;
    room.leave_alone().await?;
    alice.run([Step::Add(1), Step::Sleep(1), Step::Panic]).await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    let log = room.log().await?;
    if log.len() == 1 {
        bail!(StayedAwake(vec![room.id().to_owned()]));
    }
    // In memory, backstage survives the panic, so the handler still has its script.
    same!(log[..2], ["connect alice", "awake"]);
    let report = report(alice.ask([Step::Report]).await?)?;
    same!((report.count, report.sender.map(|sender| sender.name)), (2, Some("Alice".to_owned())));
    Ok(())
}

pub(super) async fn a_panic_in_one_room_loses_nothing_of_another<H: Harness>(h: H) -> Result<()> {
    let (one, other) = (room::<Probe, _>(&h, "one"), room::<Probe, _>(&h, "other"));
    let alice = one.connect(guest("alice")).await?;
    let bob = other.connect(guest("bob")).await?;
    bob.run([rename("Bob"), Step::Add(3)]).await?;
    bob.fence().await?;
    alice.run([Step::Panic]).await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    let report = report(bob.ask([Step::Report]).await?)?;
    same!((report.count, report.sender.map(|sender| sender.name)), (3, Some("Bob".to_owned())));
    same!(other.log().await?, ["connect bob"]);
    Ok(())
}

pub(super) async fn a_call_with_an_idempotency_key_is_repeated_after_a_panic<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let event = Event::Do { steps: vec![hold("gate"), Step::Add(1)] };
    let call = h.begin(room.try_send_once("key", event));
    alice.holding("gate").await?;
    alice.run([Step::Panic]).await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    alice.holding("gate").await?;
    alice.run([open("gate")]).await?;
    same!(call.await?, Ok(()));
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn sockets_lost_with_the_process_are_no_ghosts<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1)]).await?;
    alice.fence().await?;
    room.restart().await?;
    same!(alice.closed().await?.0, 1006);
    same!(room.peer_ids().await?.len(), 0);
    let bob = room.connect(guest("bob")).await?;
    let report = report(bob.ask([Step::Report]).await?)?;
    same!((report.count, report.peers), (1, vec!["bob".to_owned()]));
    Ok(())
}

/// Runs the case for each way to crash, each in its own room, one after the other.
async fn each_way<H: Harness>(h: &H, case: impl AsyncFn(Room<H, Probe>, Crash) -> Result<()>) -> Result<()> {
    for how in Crash::ALL {
        case(room(h, &format!("{how:?}")), how).await.with_context(|| format!("the room went down by {how:?}"))?;
    }
    Ok(())
}

/// Crashes at once, so that a change is not stored, and after a wait, so that it is.
fn ways_within(how: Crash) -> [Vec<Step>; 2] {
    [vec![Step::Add(1), Step::Crash(how)], vec![Step::Add(1), Step::Sleep(5), Step::Crash(how)]]
}

pub(super) async fn any_crash_in_a_frame_is_reported_to_its_sender_and_the_next_frame_works<H: Harness>(
    h: H,
) -> Result<()> {
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        let bob = room.connect(guest("bob")).await?;
        for (count, steps) in (0..).zip(ways_within(how)) {
            alice.run(steps).await?;
            same!(alice.next_error().await?.code, ErrorKind::Restarted);
            bob.fence().await?;
            alice.fence().await?;
            same!(room.count().await?, count);
        }
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_an_invalid_frame_is_reported_to_its_sender<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        for steps in ways_within(how) {
            room.script("on_decode_error", steps).await?;
            alice.send_binary(vec![1, 2, 3]).await?;
            same!(alice.next_error().await?.code, ErrorKind::Decode);
            same!(alice.next_error().await?.code, ErrorKind::Restarted);
            room.script("on_decode_error", []).await?;
            alice.fence().await?;
        }
        same!(room.count().await?, 1);
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_a_call_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        for (count, steps) in (0..).zip(ways_within(how)) {
            let error = is!(room.try_run(steps).await?, Err(error) => error);
            same!(error.kind, ErrorKind::Restarted);
            holds!(error.retryable, "{error:?}");
            same!(room.count().await?, count);
        }
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_on_request_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        for (count, steps) in (0..).zip(ways_within(how)) {
            let request = Request::post("https://room/do").body(Bytes::from(serde_json::to_vec(&steps)?))?;
            let error = is!(room.try_request(request).await?, Err(error) => error);
            same!(error.kind, ErrorKind::Restarted);
            same!(room.count().await?, count);
        }
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_on_upgrade_is_a_typed_error_and_admits_no_peer<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let bob = room.connect(guest("bob")).await?;
        let error = room.failed(guest("eve").on_upgrade([UpgradeStep::Crash(how)])).await?;
        same!(error.kind, ErrorKind::Restarted);
        same!(room.peer_ids().await?, ["bob"]);
        bob.fence().await?;
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_on_connect_closes_with_1011_and_leaves_no_ghost<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let bob = room.connect(guest("bob")).await?;
        for steps in ways_within(how) {
            let eve = room.connect(guest("eve").on_connect(steps)).await?;
            same!(eve.closed().await?.0, 1011);
            same!(room.peer_ids().await?, ["bob"]);
            bob.fence().await?;
        }
        same!(room.count().await?, 1);
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_on_start_is_a_typed_error_and_on_start_runs_again<H: Harness>(h: H) -> Result<()> {
    for how in Crash::ALL {
        for (count, steps) in (0..).zip(ways_within(how)) {
            let room = room::<Probe, _>(&h, &format!("{how:?}{count}"));
            room.script("on_start", steps).await?;
            let error = is!(room.try_run([log("event")]).await?, Err(error) => error);
            same!((how, error.kind), (how, ErrorKind::Restarted));
            // On workerd the crash also ended the memory of backstage.
            room.script("on_start", [log("start")]).await?;
            room.run([log("event")]).await?;
            same!((room.count().await?, room.log().await?), (count, vec!["start".to_owned(), "event".to_owned()]));
        }
    }
    Ok(())
}

pub(super) async fn on_close_runs_once_after_any_crash_in_it<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let bob = room.connect(guest("bob")).await?;
        for steps in ways_within(how) {
            let alice = room.connect(guest("alice").on_close(steps)).await?;
            alice.begin_close(1000, "").await?;
            same!(alice.closed().await?, (1000, String::new()));
            until(&h, "alice to be gone", || room.peer_ids(), |ids| ids == &["bob"]).await?;
            bob.fence().await?;
        }
        let log = room.log().await?;
        // A handler that crashed before its first write left nothing in the log.
        same!((log.iter().filter(|line| line.starts_with("close alice")).count(), room.count().await?), (1, 1));
        Ok(())
    })
    .await
}

pub(super) async fn an_alarm_is_retried_after_any_crash_in_on_alarm<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        for steps in ways_within(how) {
            room.script("on_alarm", steps).await?;
            alice.send(&Event::Schedule { after_ms: 1, steps: vec![log("alarm"), say("alarm")] }).await?;
            alice.hears(None, "alarm").await?;
            // On workerd the crash ends the memory of backstage.
            room.script("on_alarm", []).await?;
            alice.hears(None, "alarm").await?;
            alice.fence().await?;
        }
        same!(room.log().await?[1..], ["alarm"; 4]);
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_in_spawned_work_is_reported_to_the_sender_of_each_lost_frame<H: Harness>(
    h: H,
) -> Result<()> {
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        let bob = room.connect(guest("bob")).await?;
        alice.run([hold("gate")]).await?;
        for peer in [&alice, &bob] {
            peer.holding("gate").await?;
        }
        bob.run([Step::Spawn(vec![Step::Add(1), Step::Sleep(5), Step::Crash(how)])]).await?;
        same!(alice.next_error().await?.code, ErrorKind::Restarted);
        for peer in [&alice, &bob] {
            peer.fence().await?;
        }
        same!(room.count().await?, 1);
        Ok(())
    })
    .await
}

pub(super) async fn calls_in_flight_get_typed_errors_after_any_crash<H: Harness>(h: H) -> Result<()> {
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        for wait in [0, 5] {
            let call = h.begin(room.try_run([Step::Add(1), hold("gate"), Step::Add(1)]));
            alice.holding("gate").await?;
            alice.run([Step::Sleep(wait), Step::Crash(how)]).await?;
            same!(is!(call.await?, Err(error) => error).kind, ErrorKind::Restarted);
            same!(alice.next_error().await?.code, ErrorKind::Restarted);
        }
        same!(room.count().await?, 2);
        Ok(())
    })
    .await
}

pub(super) async fn any_crash_of_a_room_loses_nothing_of_another_and_its_next_frame_works<H: Harness>(
    h: H,
) -> Result<()> {
    let other = room::<Probe, _>(&h, "other");
    let bob = other.connect(guest("bob")).await?;
    bob.run([rename("Bob"), Step::Add(3)]).await?;
    each_way(&h, async |room, how| {
        let alice = room.connect(guest("alice")).await?;
        for steps in ways_within(how) {
            bob.fence().await?;
            alice.run(steps).await?;
            same!(alice.next_error().await?.code, ErrorKind::Restarted);
            let report = report(bob.ask([Step::Report]).await?)?;
            same!((report.count, report.sender.map(|sender| sender.name)), (3, Some("Bob".to_owned())));
        }
        Ok(())
    })
    .await?;
    same!(other.log().await?, ["connect bob"]);
    Ok(())
}

pub(super) async fn a_room_still_hibernates_after_any_crash<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    for how in Crash::ALL {
        for steps in ways_within(how) {
            alice.run([hold("gate")]).await?;
            for peer in [&alice, &bob] {
                peer.holding("gate").await?;
            }
            bob.run(steps).await?;
            for peer in [&alice, &bob] {
                same!(peer.next_error().await?.code, ErrorKind::Restarted);
            }
        }
    }
    room.hibernate().await?;
    alice.run([say("awake")]).await?;
    for peer in [&alice, &bob] {
        peer.hears(Some("alice"), "awake").await?;
    }
    same!(room.count().await?, Crash::ALL.len() as i64);
    Ok(())
}
