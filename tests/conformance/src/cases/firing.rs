//! How alarms fire: concurrently, on time, and independent of the platform's alarm.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    planner::{Plan, planner},
    script::Step,
};

use super::{
    planner::{after, alarm, ask, at, every, fired, give, names, next, pass, time, until_fired},
    steps::{fail, hold, open, say},
};
use crate::{
    harness::{Harness, Peer, Room, guest, room, until},
    memory::Memory,
};

type Planner = planner::Room;

/// Sets an alarm whose handler waits at a gate, and waits until it does.
async fn holding<H: Harness>(h: &H, plans: impl Into<Vec<Plan>>) -> Result<(Room<H, Planner>, Peer<H, Planner>)> {
    let room = room::<Planner, _>(h, "r");
    let alice = room.connect(guest("alice")).await?;
    let mut all = vec![Plan::Run(vec![hold("gate")])];
    all.extend(plans.into());
    give(&room, [Plan::After { ms: 10, key: None, alarm: alarm("slow", all) }]).await?;
    alice.holding("gate").await?;
    Ok((room, alice))
}

pub(super) async fn a_slow_alarm_delays_no_other<H: Harness>(h: H) -> Result<()> {
    let (room, _alice) = holding(&h, []).await?;
    give(&room, [after(50, "quick"), every(200, "tick")]).await?;
    let fired = until_fired(&room, 4).await?;
    same!(names(&fired)[..4], ["slow", "quick", "tick", "tick"]);
    room.run([open("gate")]).await?;
    Ok(())
}

pub(super) async fn an_alarm_that_takes_longer_than_its_retry_runs_once<H: Harness>(h: H) -> Result<()> {
    let (room, _alice) = holding(&h, []).await?;
    // Longer than the delay of the next attempt after a crash.
    pass(&h, 3_000).await;
    room.run([open("gate")]).await?;
    pass(&h, 500).await;
    same!(names(&fired(&room).await?), ["slow"]);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn an_alarm_may_fire_another_of_its_own_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let fire = Plan::Fire { room: room.id().to_owned() };
    give(&room, [after(60_000, "later"), Plan::After { ms: 10, key: None, alarm: alarm("now", [fire]) }]).await?;
    same!(names(&until_fired(&room, 2).await?), ["now", "later"]);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn an_alarm_may_call_fire_alarm_when_no_other_is_scheduled<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let fire = Plan::Fire { room: room.id().to_owned() };
    give(&room, [Plan::After { ms: 10, key: None, alarm: alarm("now", [fire, Plan::Run(vec![Step::Add(1)])]) }])
        .await?;
    until(&h, "the alarm to end", || room.count(), |count| *count == 1).await?;
    same!(names(&fired(&room).await?), ["now"]);
    Ok(())
}

pub(super) async fn an_alarm_that_schedules_itself_for_the_past_starves_no_other<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let now = time(&room).await?;
    // Each alarm sets the next one for a time before the other alarm's.
    let mut again = alarm("again", []);
    for _ in 0..20 {
        again = alarm("again", [Plan::At { ms: now - 60_000, key: None, alarm: again }]);
    }
    give(&room, [Plan::At { ms: now + 300, key: None, alarm: again }, at(now + 300, "other")]).await?;
    let fired = until_fired(&room, 22).await?;
    same!(names(&fired)[..3], ["again", "other", "again"]);
    Ok(())
}

pub(super) async fn a_retry_counts_from_the_end_of_the_failed_attempt<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let slow = Plan::Run(vec![Step::Sleep(2_500), fail("oops")]);
    give(&room, [Plan::After { ms: 10, key: None, alarm: alarm("slow", [slow]) }]).await?;
    let fired = until_fired(&room, 2).await?;
    let waited = fired[1].1 - fired[0].1;
    holds!(waited >= 4_500, "tried again after {waited} ms, {} ms after it failed", waited.saturating_sub(2_500));
    give(&room, [Plan::Purge]).await?;
    Ok(())
}

pub(super) async fn a_period_without_a_key_set_at_each_start_is_one<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let tick = || Plan::Every { ms: 60_000, key: None, alarm: alarm("tick", []) };
    let first = ask(&room, tick()).await?;
    let due = next(&room).await?;
    room.hibernate().await?;
    same!(ask(&room, tick()).await?, first);
    same!(next(&room).await?, due);
    // A different period, or a different alarm, is a separate schedule.
    let other = ask(&room, Plan::Every { ms: 61_000, key: None, alarm: alarm("tick", []) }).await?;
    let third = ask(&room, Plan::Every { ms: 60_000, key: None, alarm: alarm("tock", []) }).await?;
    holds!(other != first && third != first && third != other, "{first} {other} {third}");
    Ok(())
}

pub(super) async fn an_alarm_whose_change_cannot_be_stored_where_it_waits_is_retried<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let due = time(&room).await? + 50;
    let plans = [Plan::Run(vec![Step::Fill(3_000_000), Step::Sleep(1), say("done")])];
    give(&room, [Plan::At { ms: due, key: None, alarm: alarm("large", plans) }]).await?;
    let is_put_off = |next: &Option<u64>| next.is_some_and(|at_ms| at_ms >= due + 2_000);
    until(&h, "the next try", || next(&room), is_put_off).await?;
    // The alarm failed, so its broadcast was not sent.
    alice.fence().await?;
    same!(room.state().await?, None);
    give(&room, [Plan::Purge]).await?;
    Ok(())
}

pub(super) async fn nothing_can_be_scheduled_inside_an_update<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, Plan::NestSchedule).await?, "nested_update");
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn an_alarm_that_hangs_is_ended_and_retried(h: Memory) -> Result<()> {
    let (room, alice) = holding(&h, []).await?;
    let stored = h.room::<Planner>(room.id());
    stored.advance(Duration::from_secs(14 * 60));
    same!(names(&fired(&room).await?), ["slow"]);
    stored.advance(Duration::from_secs(62));
    same!(names(&fired(&room).await?), ["slow", "slow"]);
    alice.holding("gate").await?;
    let log = stored.take_log();
    holds!(log.iter().any(|line| line.contains("on_alarm did not end within 15 minutes")), "{log:?}");
    room.run([open("gate")]).await?;
    Ok(())
}

pub(super) async fn alarms_fire_however_long_the_room_could_not_start(h: Memory) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let stored = h.room::<Planner>(room.id());
    give(&room, [after(1_000, "once")]).await?;
    room.hibernate().await?;
    stored.fail_reads(true);
    // By now the platform would have stopped its attempts.
    stored.advance(Duration::from_secs(3_600));
    stored.fail_reads(false);
    stored.advance(Duration::from_secs(11));
    same!(names(&fired(&room).await?), ["once"]);
    Ok(())
}

pub(super) async fn an_overdue_alarm_fires_when_the_room_next_starts(h: Memory) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [after(60_000, "once")]).await?;
    room.hibernate().await?;
    let stored = h.room::<Planner>(room.id());
    stored.lose_alarm();
    stored.advance(Duration::from_secs(120));
    same!(stored.stored_state(), None);
    same!(names(&until_fired(&room, 1).await?), ["once"]);
    Ok(())
}

pub(super) async fn an_alarm_whose_end_cannot_be_stored_is_no_system_failure(h: Memory) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let stored = h.room::<Planner>(room.id());
    let plans = [Plan::Run(vec![Step::Sleep(1)])];
    give(&room, [Plan::After { ms: 1_000, key: None, alarm: alarm("once", plans) }]).await?;
    // The handler waits for a millisecond before it ends; after that, writes fail.
    stored.advance(Duration::from_millis(1_000));
    stored.fail_writes(true);
    stored.advance(Duration::from_millis(5));
    stored.fail_writes(false);
    let log = until(&h, "the next try", || room.log(), |log| log.len() == 2).await?;
    holds!(!log.iter().any(|line| line.contains('!')), "it is taken for a crash: {log:?}");
    Ok(())
}
