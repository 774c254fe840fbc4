//! Rule 8: errors of handlers.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Event, Step, UpgradeStep},
};
use hyper::{Request, body::Bytes};
use room_runtime::ErrorKind;

use super::steps::{fail, log, report, say};
use crate::harness::{Harness, Room, guest, room, until};

type Probe = probe::Room;

/// Waits for a line in the room's log.
async fn logged<H: Harness>(room: &Room<H, Probe>, line: &str) -> Result<Vec<String>> {
    until(room.harness(), &format!("`{line}` in the log"), || room.log(), |log| log.iter().any(|l| l == line)).await
}

pub(super) async fn an_error_in_on_event_is_reported_to_on_error_and_affects_no_other_peer<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    // Changes are kept, sent messages are not recalled, and later steps do not run.
    alice.run([Step::Add(1), say("kept"), Step::Add(1), fail("oops"), Step::Add(100)]).await?;
    for peer in [&alice, &bob] {
        peer.hears(Some("alice"), "kept").await?;
    }
    alice.hears_of_a_failure().await?;
    for peer in [&alice, &bob] {
        peer.fence().await?;
    }
    same!(room.count().await?, 2);
    same!(room.log().await?[2..], ["error on_event alice: handler oops"]);
    Ok(())
}

pub(super) async fn the_sender_of_an_event_that_fails_gets_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    // The error frame is the same for each: only the room may publish the details.
    for step in [fail("the secret is 42"), Step::FailTyped, Step::Fill(3_000_000)] {
        alice.run([step]).await?;
        alice.hears_of_a_failure().await?;
    }
    // The sender gets one frame for each, and stays connected; other peers get none.
    alice.fence().await?;
    bob.fence().await?;
    Ok(())
}

pub(super) async fn an_error_of_the_runtime_keeps_its_kind_in_on_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::FailTyped]).await?;
    alice.hears_of_a_failure().await?;
    let log = room.log().await?;
    holds!(log[1].starts_with("error on_event alice: invalid_close "), "{log:?}");
    Ok(())
}

pub(super) async fn an_error_in_the_workers_send_is_reported_to_on_error_and_to_the_worker<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let error = is!(room.try_run([Step::Add(1), fail("oops")]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Handler);
    same!((&*error.message, error.handler.as_deref()), ("oops", Some("on_event")));
    holds!(error.display.ends_with(": on_event: oops"), "{error:?}");
    same!(room.log().await?, ["error on_event nobody: handler oops"]);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn an_error_in_on_close_is_reported_to_on_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    room.connect(guest("alice").on_close([say("alice goes"), fail("oops")])).await?.close().await?;
    bob.hears(Some("alice"), "alice goes").await?;
    logged(&room, "error on_close alice: handler oops").await?;
    same!(report(bob.ask([Step::Report]).await?)?.peers, ["bob"]);
    Ok(())
}

pub(super) async fn an_error_in_on_request_is_reported_to_on_error_and_to_the_worker<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let body = serde_json::to_vec(&[Step::Add(1), fail("oops")])?;
    let request = Request::post("https://room/do").body(Bytes::from(body))?;
    let error = is!(room.try_request(request).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Handler);
    same!((&*error.message, error.handler.as_deref()), ("oops", Some("on_request")));
    same!(room.log().await?, ["error on_request nobody: handler oops"]);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn an_error_in_spawned_work_is_reported_to_on_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Spawn(vec![Step::Sleep(10), Step::Add(1), fail("oops")])]).await?;
    logged(&room, "error spawn nobody: handler oops").await?;
    same!(room.count().await?, 1);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn an_error_in_on_decode_error_is_reported_to_on_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_decode_error", [fail("oops")]).await?;
    alice.send_raw("{").await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    alice.fence().await?;
    same!(room.log().await?[2..], ["error on_decode_error alice: handler oops"]);
    Ok(())
}

pub(super) async fn a_room_whose_on_start_fails_handles_nothing_until_it_succeeds<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.script("on_start", [log("start"), fail("oops")]).await?;
    let failed = "error on_start nobody: handler oops";
    same!(room.failed(guest("alice")).await?.kind, ErrorKind::NotStarted);
    same!(is!(room.try_run([Step::Add(1)]).await?, Err(error) => error).kind, ErrorKind::NotStarted);
    room.script("on_start", [log("start")]).await?;
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.log().await?, ["start", failed, "start", failed, "start", "connect alice"]);
    same!(room.count().await?, 0);

    // The frame that wakes the room is refused, and so is a close. Its `on_close` runs once the room has started.
    room.hibernate().await?;
    room.script("on_start", [fail("oops")]).await?;
    alice.run([Step::Add(1)]).await?;
    same!(alice.next_error().await?.code, ErrorKind::NotStarted);
    alice.close().await?;
    room.script("on_start", []).await?;
    let close = r#"close alice 1000 "" clean, [] left, send is Err(PeerGone)"#;
    until(&h, "on_close", || room.log(), |log| log.iter().any(|line| line == close)).await?;
    same!(room.count().await?, 0);
    Ok(())
}

pub(super) async fn an_error_in_on_alarm_is_reported_to_on_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send(&Event::Schedule { after_ms: 1, steps: vec![fail("oops")] }).await?;
    logged(&room, "error on_alarm nobody: handler oops").await?;
    alice.fence().await?;
    Ok(())
}

pub(super) async fn an_error_in_on_upgrade_is_reported_to_on_error_only<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let steps = [UpgradeStep::Log("before".to_owned()), UpgradeStep::Fail("the secret is 42".to_owned())];
    let response = room.refused(guest("alice").on_upgrade(steps)).await?;
    same!(response.status(), 500);
    let body = String::from_utf8_lossy(response.body()).into_owned();
    holds!(!body.contains("secret") && !body.contains("42"), "the client is told {body:?}");
    same!(room.log().await?, ["before", "error on_upgrade alice: handler the secret is 42"]);
    same!(room.peer_ids().await?.len(), 0);
    Ok(())
}

pub(super) async fn an_on_error_that_fails_itself_is_harmless<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_error", [Step::Sleep(1), fail("worse")]).await?;
    alice.run([fail("oops")]).await?;
    alice.hears_of_a_failure().await?;
    alice.fence().await?;
    same!(room.log().await?[1..], ["error on_event alice: handler oops"]);
    Ok(())
}

pub(super) async fn on_error_knows_the_sender_and_may_answer<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_error", [super::steps::whisper("that did not work")]).await?;
    alice.run([fail("oops")]).await?;
    alice.hears(Some("alice"), "that did not work").await?;
    alice.hears_of_a_failure().await?;
    Ok(())
}
