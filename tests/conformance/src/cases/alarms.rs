//! Rule 10: alarms.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Event, Step},
};

use super::{
    planner::{Planner, after, give, names, until_fired},
    steps::{fail, log, say},
};
use crate::harness::{Harness, Peer, guest, room, until};

type Probe = probe::Room;

async fn schedule<H: Harness>(by: &Peer<H, Probe>, after_ms: u64, steps: impl Into<Vec<Step>>) -> Result<()> {
    by.send(&Event::Schedule { after_ms, steps: steps.into() }).await
}

pub(super) async fn alarms_fire_in_order_of_time<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    // One handler sets all three, because separate frames may arrive further apart than the alarms are due.
    give(&room, [after(600, "third"), after(200, "first"), after(400, "second")]).await?;
    same!(names(&until_fired(&room, 3).await?), ["first", "second", "third"]);
    Ok(())
}

pub(super) async fn an_alarm_wakes_a_room_that_sleeps<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    schedule(&alice, 15_000, [say("awake")]).await?;
    room.hibernate().await?;
    alice.hears(None, "awake").await?;
    Ok(())
}

pub(super) async fn an_alarm_that_fails_is_retried<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_alarm", [fail("not yet")]).await?;
    schedule(&alice, 1, [log("try")]).await?;
    until(&h, "the first try", || room.log(), |log| log.len() >= 3).await?;
    room.script("on_alarm", [say("done")]).await?;
    alice.hears(None, "done").await?;
    same!(room.log().await?[1..], ["try", "error on_alarm nobody: handler not yet", "try"]);
    Ok(())
}

pub(super) async fn an_alarm_during_which_the_room_panics_is_retried<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_alarm", [Step::Sleep(1), Step::Panic]).await?;
    schedule(&alice, 1, [log("try")]).await?;
    until(&h, "the first try", || room.log(), |log| log.len() >= 2).await?;
    // On workerd the panic also ended the isolate, with the memory of backstage.
    room.script("on_alarm", [say("done")]).await?;
    alice.hears(None, "done").await?;
    same!(room.log().await?[1..], ["try", "try"]);
    Ok(())
}

pub(super) async fn an_alarm_outlives_the_process_and_knows_its_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "räume/✨");
    let alice = room.connect(guest("alice")).await?;
    schedule(&alice, 3_000, [Step::LogPlace]).await?;
    alice.fence().await?;
    room.restart().await?;
    // No request reaches the room until then.
    h.clone().pass(std::time::Duration::from_secs(4)).await;
    let log = until(&h, "the alarm", || room.log(), |log| log.len() >= 3).await?;
    // The peer whose socket was lost with the process is closed first.
    holds!(log[1].starts_with("close alice 1006 \"\" lost"), "{log:?}");
    same!((&*log[0], &log[2]), ("connect alice", &format!("probe/{}", room.id())));
    Ok(())
}
