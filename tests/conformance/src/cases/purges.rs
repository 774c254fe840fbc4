//! The end of a room's life, from every handler.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    founded,
    lounge::hall,
    planner::{Plan, event, planner},
    probe,
    script::{Step, UpgradeStep},
};
use room_runtime::ErrorKind;

use super::{
    lounge::closes,
    planner::give,
    steps::{attempt, fail, log},
};
use crate::harness::{Harness, guest, room};

type Probe = probe::Room;

const A_WHILE: Duration = Duration::from_millis(300);

pub(super) async fn a_purge_in_on_upgrade_is_answered_with_410<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    bob.run([Step::Add(1)]).await?;
    bob.fence().await?;
    let response = room.refused(guest("alice").on_upgrade([UpgradeStep::Purge])).await?;
    same!(response.status(), 410);
    same!(bob.closed().await?.0, 1000);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_in_on_error_ends_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    room.script("on_error", [Step::Purge]).await?;
    let error = is!(room.try_run([Step::Add(1), fail("oops")]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Handler);
    same!(bob.closed().await?.0, 1000);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_in_init_is_no_error_for_the_caller<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "r");
    room.script("init", [Step::Purge]).await?;
    same!(room.try_run([Step::Add(1)]).await?, Ok(()));
    same!(room.try_state().await?, Ok(None));
    room.script("init", []).await?;
    room.run([Step::Add(1)]).await?;
    same!(room.count().await?, 101);
    Ok(())
}

pub(super) async fn a_purge_in_on_start_refuses_pending_events_and_on_start_runs_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.script("on_start", [log("start"), Step::Purge]).await?;
    same!(is!(room.try_run([Step::Add(1)]).await?, Err(error) => error).kind, ErrorKind::Purged);
    room.script("on_start", [log("start")]).await?;
    room.run([Step::Add(1)]).await?;
    same!((room.count().await?, room.log().await?), (1, vec!["start".to_owned()]));
    Ok(())
}

pub(super) async fn after_a_purge_in_the_on_close_of_a_lost_peer_on_start_runs_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").on_close([Step::Purge])).await?;
    let bob = room.connect(guest("bob").on_close([Step::Purge])).await?;
    alice.fence().await?;
    bob.fence().await?;
    room.restart().await?;
    room.script("on_start", [log("start")]).await?;
    room.run([Step::Add(1)]).await?;
    same!((room.count().await?, room.log().await?), (1, vec!["start".to_owned()]));
    closes(&room, 0).await?;
    Ok(())
}

pub(super) async fn work_that_is_spawned_after_a_purge_does_not_run<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.try_run([Step::Add(1), attempt(Step::Purge), Step::Spawn(vec![log("later")])]).await?.ok();
    h.pass(A_WHILE).await;
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_erases_the_idempotency_key_of_its_call<H: Harness>(h: H) -> Result<()> {
    let room = room::<planner::Room, _>(&h, "r");
    let purge = || event(&[Plan::Run(vec![Step::Add(1)]), Plan::Purge]);
    same!(room.try_send_once("k", purge()).await?, Ok(()));
    give(&room, [Plan::Run(vec![Step::Add(1)])]).await?;
    same!(room.count().await?, 1);
    // The key belonged to the previous life, so the same call runs again.
    same!(room.try_send_once("k", purge()).await?, Ok(()));
    same!(room.state().await?, None);
    Ok(())
}
