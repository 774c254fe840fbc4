//! The life of a room: its start, `spawn` and `sleep`, its id and name, and the clock.

use anyhow::Result;
use conformance_rooms::{
    founded, probe,
    script::{Broadcast, Event, Step, UpgradeStep},
};
use hyper::{Request, body::Bytes};

use super::steps::{fail, log, report, say, whisper};
use crate::harness::{Harness, guest, room, until};

type Probe = probe::Room;

// on_start

pub(super) async fn on_start_runs_first_and_once_for_each_start<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.script("on_start", [log("start"), Step::Sleep(5), log("started")]).await?;
    let alice = room.connect(guest("alice").on_upgrade([UpgradeStep::Log("upgrade".to_owned())])).await?;
    alice.run([log("one")]).await?;
    alice.fence().await?;
    room.hibernate().await?;
    alice.run([log("two")]).await?;
    alice.fence().await?;
    same!(room.log().await?, ["start", "started", "upgrade", "connect alice", "one", "start", "started", "two"]);
    Ok(())
}

pub(super) async fn events_that_arrive_during_on_start_are_handled_after_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    room.script("on_start", [log("start"), Step::Sleep(200), log("started")]).await?;
    let calls = ["a", "b", "c"].map(|name| h.begin(room.try_run([log(name)])));
    for call in calls {
        same!(call.await?, Ok(()));
    }
    let mut log = room.log().await?;
    log[2..].sort();
    same!(log, ["start", "started", "a", "b", "c"]);
    Ok(())
}

pub(super) async fn frames_that_wake_a_room_are_handled_after_on_start_in_order<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_start", [Step::Sleep(100), log("started")]).await?;
    room.hibernate().await?;
    for text in ["one", "two", "three"] {
        alice.run([log(text)]).await?;
    }
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "started", "one", "two", "three"]);
    Ok(())
}

pub(super) async fn a_close_that_wakes_a_room_is_handled_after_on_start<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_start", [Step::Sleep(20), log("started")]).await?;
    room.hibernate().await?;
    alice.close().await?;
    let log = until(&h, "on_close of alice", || room.log(), |log| log.len() >= 3).await?;
    same!(log[..2], ["connect alice", "started"]);
    holds!(log[2].starts_with("close alice"), "{log:?}");
    Ok(())
}

// spawn and sleep

pub(super) async fn spawned_work_outlives_its_handler_and_stores_its_changes<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Spawn(vec![Step::Sleep(50), Step::Add(1), say("later")]), whisper("now")]).await?;
    alice.hears(Some("alice"), "now").await?;
    // A spawned task has no sender.
    alice.hears(None, "later").await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Report]).await?)?.count, 1);
    Ok(())
}

pub(super) async fn the_last_change_of_spawned_work_is_stored<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Spawn(vec![Step::Sleep(20), Step::Add(1)])]).await?;
    alice.fence().await?;
    room.hibernate().await?;
    same!(room.count().await?, 1);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_call_does_not_wait_for_what_it_spawned<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.run([Step::Spawn(vec![super::steps::hold("gate"), say("spawned")])]).await?;
    alice.holding("gate").await?;
    alice.run([super::steps::open("gate")]).await?;
    alice.hears(None, "spawned").await?;
    Ok(())
}

pub(super) async fn sleep_waits_at_least_that_long<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Now, Step::Sleep(150), Step::Now]).await?;
    let before = is!(alice.next().await?, Broadcast::Now { ms } => ms);
    let after = is!(alice.next().await?, Broadcast::Now { ms } => ms);
    holds!(after - before >= 150, "it slept for {} ms", after - before);
    Ok(())
}

pub(super) async fn the_time_of_connecting_is_of_the_rooms_own_clock<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let connected_at = room.peers(None).await?[0].connected_at;
    let now = is!(alice.ask([Step::Now]).await?, Broadcast::Now { ms } => ms);
    holds!((connected_at..connected_at + 60_000).contains(&now), "connected at {connected_at}, and now it is {now}");
    Ok(())
}

// id and name

pub(super) async fn every_handler_knows_its_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "räume/✨ #1?a=b&c=%20 \"\\ ");
    for handler in ["on_start", "on_decode_error", "on_error"] {
        room.script(handler, [Step::LogPlace]).await?;
    }
    let alice = guest("alice").on_upgrade([UpgradeStep::LogPlace]).on_connect([Step::LogPlace]);
    let alice = room.connect(alice.on_close([Step::LogPlace])).await?;
    alice.run([Step::LogPlace, Step::Report]).await?;
    let report = report(alice.next().await?)?;
    same!((&*report.name, &*report.room), ("probe", room.id()));
    alice.send_raw("{").await?;
    alice.next_error().await?;
    alice.run([Step::Spawn(vec![Step::Sleep(5), Step::LogPlace, say("spawned")]), fail("oops")]).await?;
    alice.hears_of_a_failure().await?;
    alice.hears(None, "spawned").await?;
    alice.send(&Event::Schedule { after_ms: 1, steps: vec![Step::LogPlace, say("alarm")] }).await?;
    alice.hears(None, "alarm").await?;
    let body = serde_json::to_vec(&[Step::LogPlace])?;
    room.request(Request::post("https://room/do").body(Bytes::from(body))?).await?;
    room.run([Step::LogPlace]).await?;
    alice.close().await?;
    let place = format!("probe/{}", room.id());
    let places = |log: &Vec<String>| log.iter().filter(|line| line.starts_with("probe/")).cloned().collect::<Vec<_>>();
    let log = until(&h, "eleven places in the log", || room.log(), |log| places(log).len() >= 11).await?;
    same!(places(&log), vec![place; 11]);
    Ok(())
}

pub(super) async fn init_knows_its_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "räume/✨");
    room.run([Step::Add(0)]).await?;
    same!(room.log().await?, [format!("init 1 of founded/{}", room.id())]);
    Ok(())
}

pub(super) async fn a_room_knows_its_id_after_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "räume/✨");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Report]).await?)?.room, room.id());
    Ok(())
}
