//! Alarms in all their forms, calls of other rooms, and purges.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    api::Failed,
    planner::{Alarm, Plan, event, planner},
    probe,
    script::{State, Step},
};
use hyper::{Request, body::Bytes};
use room_runtime::{ErrorKind, SqlValue};
use serde_json::{Value, json};

use super::steps::{fail, hold, say};
use crate::{
    harness::{Harness, Room, guest, room, until},
    memory::Memory,
};

pub(super) type Planner = planner::Room;
type Probe = probe::Room;

pub(super) fn alarm(name: &str, plans: impl Into<Vec<Plan>>) -> Alarm {
    Alarm { name: name.to_owned(), plans: plans.into() }
}

pub(super) fn after(ms: u64, name: &str) -> Plan {
    Plan::After { ms, key: None, alarm: alarm(name, []) }
}

pub(super) fn at(ms: u64, name: &str) -> Plan {
    Plan::At { ms, key: None, alarm: alarm(name, []) }
}

pub(super) fn every(ms: u64, name: &str) -> Plan {
    Plan::Every { ms, key: Some(name.to_owned()), alarm: alarm(name, []) }
}

pub(super) fn exec(statement: &str, parameters: impl Into<Vec<SqlValue>>) -> Plan {
    Plan::Exec { statement: statement.to_owned(), parameters: parameters.into() }
}

pub(super) fn lines(statement: &str, parameters: impl Into<Vec<SqlValue>>) -> Plan {
    Plan::Lines { statement: statement.to_owned(), parameters: parameters.into() }
}

pub(super) fn one(statement: &str) -> Plan {
    Plan::One { statement: statement.to_owned() }
}

/// The tolerance for an alarm's time: an attempt starts before its handler reads the clock.
const LATE_MS: u64 = 200;

/// Runs plans; returns their results, or the error of the first that failed.
pub(super) async fn attempt<H: Harness>(
    room: &Room<H, Planner>,
    plans: impl Into<Vec<Plan>>,
) -> Result<Result<Vec<Value>, Failed>> {
    let body = Bytes::from(serde_json::to_vec(&plans.into())?);
    match room.try_request(Request::post("https://planner/").body(body)?).await? {
        // A purged room has no results.
        Ok(response) if response.status() == 204 => Ok(Ok(Vec::new())),
        Ok(response) => Ok(Ok(serde_json::from_slice(response.body())?)),
        Err(failed) => Ok(Err(failed)),
    }
}

pub(super) async fn give<H: Harness>(room: &Room<H, Planner>, plans: impl Into<Vec<Plan>>) -> Result<Vec<Value>> {
    attempt(room, plans).await?.map_err(|failed| anyhow::anyhow!("the plans failed: {failed:?}"))
}

/// Runs one plan and returns its result.
pub(super) async fn ask<H: Harness>(room: &Room<H, Planner>, plan: Plan) -> Result<Value> {
    Ok(give(room, [plan]).await?.remove(0))
}

pub(super) async fn refused<H: Harness>(room: &Room<H, Planner>, plan: Plan) -> Result<Failed> {
    Ok(is!(attempt(room, [plan]).await?, Err(failed) => failed))
}

pub(super) async fn time<H: Harness>(room: &Room<H, Planner>) -> Result<u64> {
    Ok(serde_json::from_value(ask(room, Plan::Now).await?)?)
}

pub(super) async fn next<H: Harness>(room: &Room<H, Planner>) -> Result<Option<u64>> {
    Ok(serde_json::from_value(ask(room, Plan::Next).await?)?)
}

/// The alarms that fired, with their times.
pub(super) async fn fired<H: Harness>(room: &Room<H, Planner>) -> Result<Vec<(String, u64)>> {
    let log = room.log().await?;
    let notes = log.iter().filter_map(|line| line.split_once('@'));
    Ok(notes.filter_map(|(name, ms)| Some((name.to_owned(), ms.parse().ok()?))).collect())
}

pub(super) async fn until_fired<H: Harness>(room: &Room<H, Planner>, count: usize) -> Result<Vec<(String, u64)>> {
    until(room.harness(), "the alarms", || fired(room), |all| all.len() >= count).await
}

pub(super) fn names(fired: &[(String, u64)]) -> Vec<&str> {
    fired.iter().map(|(name, _)| &**name).collect()
}

pub(super) async fn pass<H: Harness>(h: &H, ms: u64) {
    h.clone().pass(Duration::from_millis(ms)).await;
}

// Schedules.

pub(super) async fn an_alarm_carries_its_data_to_its_handler<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let plans = [Plan::Run(vec![Step::Add(7), Step::Log("wörter \"✨\"".to_owned())])];
    give(&room, [Plan::After { ms: 50, key: None, alarm: alarm("data", plans) }]).await?;
    until_fired(&room, 1).await?;
    let State { count, log, .. } = room.state().await?.unwrap_or_default();
    same!((count, log.last().map(|text| &**text)), (7, Some("wörter \"✨\"")));
    Ok(())
}

pub(super) async fn alarms_set_in_any_order_fire_in_order_of_time_and_never_early<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let start = time(&room).await? + 500;
    // Each number below twenty once, in a mixed order.
    let offsets: Vec<u64> = (0..20).map(|n| n * 7 % 20).collect();
    let plans: Vec<_> = offsets.iter().map(|n| at(start + n * 20, &n.to_string())).collect();
    give(&room, plans).await?;
    let fired = until_fired(&room, 20).await?;
    same!(names(&fired), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    for (n, (_, ms)) in (0..).zip(&fired) {
        holds!(*ms >= start + n * 20, "{n} came {} ms early", start + n * 20 - ms);
    }
    Ok(())
}

pub(super) async fn alarms_due_at_the_same_time_fire_in_the_order_they_were_set<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let due = time(&room).await? + 400;
    let wanted: Vec<_> = (0..12).map(|n| format!("n{n}")).collect();
    give(&room, wanted.iter().map(|name| at(due, name)).collect::<Vec<_>>()).await?;
    same!(names(&until_fired(&room, 12).await?), wanted);
    Ok(())
}

pub(super) async fn an_alarm_for_a_time_that_has_passed_fires_at_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [after(60_000, "later"), at(1_000, "past")]).await?;
    same!(names(&until_fired(&room, 1).await?), ["past"]);
    // The platform accepts no alarm for this time.
    give(&room, [at(0, "the epoch")]).await?;
    same!(names(&until_fired(&room, 2).await?), ["past", "the epoch"]);
    same!(next(&room).await?.is_some(), true);
    Ok(())
}

pub(super) async fn a_schedule_with_a_key_replaces_the_earlier_one<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let keyed = |ms, name| Plan::After { ms, key: Some("k".to_owned()), alarm: alarm(name, []) };
    let other = Plan::After { ms: 400, key: Some("other".to_owned()), alarm: alarm("other", []) };
    give(&room, [keyed(200, "old"), other, keyed(600, "new")]).await?;
    same!(names(&until_fired(&room, 2).await?), ["other", "new"]);
    pass(&h, 300).await;
    same!(fired(&room).await?.len(), 2);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn a_period_keeps_its_grid<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let given = give(&room, [every(300, "tick"), Plan::Next]).await?;
    let first = is!(given[1].as_u64(), Some(due) => due);
    let fired = until_fired(&room, 4).await?;
    holds!(fired[0].1 >= first, "the first came early");
    for pair in fired.windows(2) {
        let (a, b) = ((pair[0].1 - first) / 300, (pair[1].1 - first) / 300);
        holds!(b > a, "two in one period: {fired:?}");
    }
    let due = is!(next(&room).await?, Some(due) => due);
    same!((due - first) % 300, 0);
    Ok(())
}

pub(super) async fn periods_that_pass_while_the_alarm_runs_are_skipped<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let slow = alarm("slow", [Plan::Run(vec![Step::Sleep(1_300)])]);
    let given = give(&room, [Plan::Every { ms: 500, key: None, alarm: slow }, Plan::Next]).await?;
    let first = is!(given[1].as_u64(), Some(due) => due);
    let fired = until_fired(&room, 3).await?;
    for pair in fired.windows(2) {
        let (a, b) = ((pair[0].1 - first) / 500, (pair[1].1 - first) / 500);
        holds!(b - a >= 3, "a period was made up for: {fired:?}");
    }
    // The running one is postponed, so the grid shows after it has ended.
    let grid = |due: &Option<u64>| due.is_some_and(|due| (due - first) % 500 == 0);
    until(&h, "a time on the grid", || next(&room), grid).await?;
    Ok(())
}

pub(super) async fn a_period_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [every(16_000, "tick")]).await?;
    let first = is!(next(&room).await?, Some(due) => due);
    room.hibernate().await?;
    pass(&h, 6_000).await;
    let fired = until_fired(&room, 1).await?;
    same!(names(&fired), ["tick"]);
    holds!(fired[0].1 >= first, "early");
    same!(next(&room).await?, Some(first + 16_000));
    Ok(())
}

pub(super) async fn a_period_set_again_unchanged_keeps_its_time<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let id = ask(&room, every(60_000, "tick")).await?;
    let first = next(&room).await?;
    pass(&h, 100).await;
    same!(ask(&room, every(60_000, "tick")).await?, id);
    same!(next(&room).await?, first);
    // A different period, or a different alarm, starts a new schedule.
    give(&room, [every(50_000, "tick")]).await?;
    let other = next(&room).await?;
    holds!(other < first, "{other:?} is not before {first:?}");
    pass(&h, 100).await;
    let changed = alarm("another", []);
    give(&room, [Plan::Every { ms: 50_000, key: Some("tick".to_owned()), alarm: changed }]).await?;
    holds!(next(&room).await? > other, "another alarm kept the time of the old");
    Ok(())
}

pub(super) async fn a_period_of_nothing_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let failed = refused(&room, every(0, "tick")).await?;
    same!((failed.kind, failed.room.as_deref()), (ErrorKind::InvalidSchedule, Some(room.id())));
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn a_schedule_is_cancelled_by_its_id_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let soon = Plan::AfterKept { ms: 300, alarm: alarm("never", []) };
    same!(give(&room, [soon, Plan::CancelKept, Plan::CancelKept]).await?[1..], [json!(true), json!(false)]);
    let id = is!(ask(&room, after(60_000, "never")).await?, Value::String(id) => id);
    let cancel = || Plan::Cancel(id.clone());
    same!(give(&room, [cancel(), cancel()]).await?, [json!(true), json!(false)]);
    let id = is!(ask(&room, after(1, "fires")).await?, Value::String(id) => id);
    until_fired(&room, 1).await?;
    until(&h, "the alarm to be over", || next(&room), Option::is_none).await?;
    same!(ask(&room, Plan::Cancel(id)).await?, false);
    pass(&h, 500).await;
    same!(names(&fired(&room).await?), ["fires"]);
    Ok(())
}

pub(super) async fn a_schedule_is_cancelled_by_its_key_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let cancel = || Plan::CancelKeyed("tick".to_owned());
    let given = give(&room, [cancel(), every(100, "tick"), cancel(), cancel(), Plan::Next]).await?;
    same!((&given[0], &given[2..]), (&json!(false), &[json!(true), json!(false), json!(null)][..]));
    pass(&h, 300).await;
    same!(fired(&room).await?, []);
    Ok(())
}

pub(super) async fn a_period_may_cancel_itself_in_its_handler<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let once = alarm("once", [Plan::CancelKeyed("k".to_owned())]);
    give(&room, [Plan::Every { ms: 100, key: Some("k".to_owned()), alarm: once }]).await?;
    until_fired(&room, 1).await?;
    pass(&h, 500).await;
    same!(names(&fired(&room).await?), ["once"]);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn an_alarm_may_set_the_next_under_its_own_key<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let keyed = |name, plans: Vec<Plan>| Plan::After { ms: 50, key: Some("k".to_owned()), alarm: alarm(name, plans) };
    give(&room, [keyed("one", vec![keyed("two", vec![keyed("three", Vec::new())])])]).await?;
    same!(names(&until_fired(&room, 3).await?), ["one", "two", "three"]);
    until(&h, "the last alarm to be over", || next(&room), Option::is_none).await?;
    Ok(())
}

pub(super) async fn the_id_of_a_schedule_survives_storage_as_text<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [Plan::AfterKept { ms: 60_000, alarm: alarm("never", []) }]).await?;
    let text = room.state().await?.unwrap_or_default().blob;
    holds!(text.starts_with('"') && text.len() == 18, "the id is not 16 characters of text: {text}");
    room.hibernate().await?;
    same!(
        give(&room, [Plan::CancelKept, Plan::CancelKept, Plan::Next]).await?,
        [json!(true), json!(false), json!(null)]
    );
    Ok(())
}

pub(super) async fn next_alarm_is_the_earliest_of_all<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(next(&room).await?, None);
    let now = time(&room).await?;
    let (late, soon) = (now + 80_000, now + 40_000);
    let given = give(&room, [at(late, "late"), Plan::Next, at(soon, "soon"), Plan::Next]).await?;
    same!((&given[1], &given[3]), (&json!(late), &json!(soon)));
    let id = is!(&given[2], Value::String(id) => id.clone());
    same!(give(&room, [Plan::Cancel(id), Plan::Next]).await?[1], late);
    Ok(())
}

pub(super) async fn fire_alarm_runs_the_earliest_now_and_consumes_it<H: Harness>(h: H) -> Result<()> {
    let (caller, target) = (room::<Planner, _>(&h, "caller"), room::<Planner, _>(&h, "target"));
    let fire = || Plan::Fire { room: target.id().to_owned() };
    same!(ask(&caller, fire()).await?, false);
    let now = time(&target).await?;
    give(&target, [at(now + 90_000, "second"), at(now + 80_000, "first")]).await?;
    same!(ask(&caller, fire()).await?, true);
    same!(names(&fired(&target).await?), ["first"]);
    same!(next(&target).await?, Some(now + 90_000));
    same!(give(&caller, [fire(), fire()]).await?, [json!(true), json!(false)]);
    same!(names(&fired(&target).await?), ["first", "second"]);
    Ok(())
}

pub(super) async fn a_period_fired_by_hand_skips_to_its_next_time<H: Harness>(h: H) -> Result<()> {
    let (caller, target) = (room::<Planner, _>(&h, "caller"), room::<Planner, _>(&h, "target"));
    give(&target, [every(60_000, "tick")]).await?;
    let first = is!(next(&target).await?, Some(due) => due);
    same!(ask(&caller, Plan::Fire { room: target.id().to_owned() }).await?, true);
    same!(next(&target).await?, Some(first + 60_000));
    Ok(())
}

pub(super) async fn a_fire_alarm_that_fails_is_a_typed_error_and_is_retried<H: Harness>(h: H) -> Result<()> {
    let (caller, target) = (room::<Planner, _>(&h, "caller"), room::<Planner, _>(&h, "target"));
    let trips = alarm("trips", [Plan::Trip { times: 1, panics: false }]);
    give(&target, [Plan::After { ms: 60_000, key: None, alarm: trips }]).await?;
    let failed = refused(&caller, Plan::Fire { room: target.id().to_owned() }).await?;
    same!((failed.kind, &*failed.message), (ErrorKind::Handler, "tripped 1"));
    let fired = until_fired(&target, 2).await?;
    holds!(fired[1].1 + LATE_MS >= fired[0].1 + 2_000, "tried again too early: {fired:?}");
    until(&h, "the second try to be over", || next(&target), Option::is_none).await?;
    Ok(())
}

pub(super) async fn a_plain_failure_is_no_system_failure<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let trips = alarm("trips", [Plan::Trip { times: 1, panics: false }]);
    give(&room, [Plan::After { ms: 1, key: None, alarm: trips }]).await?;
    same!(names(&until_fired(&room, 2).await?), ["trips", "trips"]);
    Ok(())
}

pub(super) async fn a_panic_in_an_alarm_is_reported_to_the_next_attempt_only<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let trips = alarm("trips", [Plan::Trip { times: 1, panics: true }]);
    give(&room, [Plan::Every { ms: 1_000, key: None, alarm: trips }]).await?;
    same!(names(&until_fired(&room, 3).await?)[..3], ["trips", "trips!2", "trips"]);
    Ok(())
}

pub(super) async fn every_crash_in_an_alarm_counts<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let trips = alarm("trips", [Plan::Trip { times: 2, panics: true }]);
    give(&room, [Plan::After { ms: 1, key: None, alarm: trips }]).await?;
    let fired = until_fired(&room, 3).await?;
    same!(names(&fired), ["trips", "trips!2", "trips!3"]);
    holds!(
        fired[1].1 + LATE_MS >= fired[0].1 + 2_000 && fired[2].1 + LATE_MS >= fired[1].1 + 4_000,
        "tried again too early: {fired:?}"
    );
    until(&h, "the last try to be over", || next(&room), Option::is_none).await?;
    Ok(())
}

pub(super) async fn alarms_fire_while_the_room_sleeps<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [after(15_000, "first"), after(15_200, "second")]).await?;
    room.hibernate().await?;
    pass(&h, 5_000).await;
    same!(names(&fired(&room).await?), ["first", "second"]);
    Ok(())
}

pub(super) async fn alarms_fire_after_the_process_restarted<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [after(4_500, "second"), after(4_000, "first"), every(60_000, "tick")]).await?;
    room.restart().await?;
    // No request reaches the room until then.
    pass(&h, 6_000).await;
    same!(names(&until_fired(&room, 2).await?), ["first", "second"]);
    same!(next(&room).await?.is_some(), true);
    Ok(())
}

pub(super) async fn a_thousand_schedules_over_days_of_crashes_all_fire_and_none_early(h: Memory) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let inside = h.room::<Planner>(room.id());
    const DAYS_MS: u64 = 3 * 24 * 3_600_000;
    let start = time(&room).await? + 60_000;
    let mut dues: Vec<u64> = (0..1_000).map(|n: u64| start + n * 104_729 * 7_919 % DAYS_MS).collect();
    for (n, chunk) in dues.chunks(100).enumerate() {
        let plans: Vec<_> = (0..).zip(chunk).map(|(i, due)| at(*due, &(n * 100 + i).to_string())).collect();
        give(&room, plans).await?;
        inside.crash();
    }
    let mut step: u64 = 1;
    while inside.world().now_ms() < start + DAYS_MS + 60_000 {
        // Pseudo-random steps of up to three hours.
        step = (step * 48_271) % 0x7fff_ffff;
        inside.advance(Duration::from_millis(step % 10_800_000));
        match step % 3 {
            0 => inside.crash(),
            1 => inside.restart(),
            _ => inside.hibernate(),
        }
    }
    let mut fired = fired(&room).await?;
    same!(fired.len(), 1_000);
    holds!(fired.is_sorted_by_key(|(_, ms)| *ms), "not in order of time");
    for (name, ms) in &fired {
        same!((name, *ms), (name, dues[name.parse::<usize>()?]));
    }
    fired.sort();
    fired.dedup_by(|a, b| a.0 == b.0);
    same!(fired.len(), 1_000);
    dues.clear();
    same!(next(&room).await?, None);
    Ok(())
}

// Calls of other rooms.

pub(super) async fn a_room_sends_to_a_room_of_another_type<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let plan = Plan::Tell { room: probe.id().to_owned(), steps: vec![Step::Add(3), Step::LogPlace] };
    same!(ask(&planner, plan).await?, Value::Null);
    same!(probe.count().await?, 3);
    same!(probe.log().await?, [format!("probe/{}", probe.id())]);
    Ok(())
}

pub(super) async fn a_room_reads_the_state_of_another<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let look = || Plan::Ask { room: probe.id().to_owned() };
    same!(ask(&planner, look()).await?, Value::Null);
    probe.run([Step::Add(4)]).await?;
    let state: State = serde_json::from_value(ask(&planner, look()).await?)?;
    same!(state.count, 4);
    Ok(())
}

pub(super) async fn a_room_broadcasts_to_the_peers_of_another<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let (alice, bob) = (probe.connect(guest("alice")).await?, probe.connect(guest("bob")).await?);
    let plan = Plan::Announce { room: probe.id().to_owned(), text: "from afar".to_owned() };
    same!(ask(&planner, plan).await?, 2);
    for peer in [&alice, &bob] {
        peer.hears(None, "from afar").await?;
        peer.fence().await?;
    }
    Ok(())
}

pub(super) async fn an_error_of_another_room_keeps_its_kind_and_its_text<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let tell = |steps: Vec<Step>| Plan::Tell { room: probe.id().to_owned(), steps };
    let failed = refused(&planner, tell(vec![fail("no")])).await?;
    same!((failed.kind, &*failed.message), (ErrorKind::Handler, "no"));
    same!(refused(&planner, tell(vec![Step::FailTyped])).await?.kind, ErrorKind::InvalidClose);
    let nameless = Plan::Tell { room: String::new(), steps: Vec::new() };
    same!(refused(&planner, nameless).await?.kind, ErrorKind::InvalidRoomId);
    Ok(())
}

pub(super) async fn an_error_that_a_room_passes_on_names_the_room_it_happened_in<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let failed = refused(&planner, Plan::Tell { room: probe.id().to_owned(), steps: vec![fail("no")] }).await?;
    same!(failed.room.as_deref(), Some(probe.id()));
    Ok(())
}

pub(super) async fn a_missing_binding_of_another_room_is_a_typed_error_with_what_to_add<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let failed = refused(&room, Plan::CallHomeless).await?;
    same!((failed.kind, failed.room.as_deref()), (ErrorKind::Binding, Some(room.id())));
    for wanted in [
        "[[durable_objects.bindings]]\nname = \"HOMELESS\"\nclass_name = \"HomelessRoom\"",
        "[[migrations]]",
        "new_sqlite_classes = [\"HomelessRoom\"]",
    ] {
        holds!(failed.message.contains(wanted), "`{wanted}` is not in {}", failed.message);
    }
    Ok(())
}

pub(super) async fn an_alarm_on_a_cold_object_calls_another_room<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let tell = Plan::Tell { room: probe.id().to_owned(), steps: vec![Step::Add(5)] };
    give(&planner, [Plan::After { ms: 15_000, key: None, alarm: alarm("call", [tell]) }]).await?;
    planner.hibernate().await?;
    pass(&h, 4_000).await;
    until(&h, "the call", || probe.count(), |count| *count == 5).await?;
    same!(names(&fired(&planner).await?), ["call"]);
    Ok(())
}

pub(super) async fn rooms_may_call_each_other_while_they_wait<H: Harness>(h: H) -> Result<()> {
    let (a, b) = (room::<Planner, _>(&h, "a"), room::<Planner, _>(&h, "b"));
    let back = Plan::Send { room: a.id().to_owned(), plans: vec![Plan::Run(vec![Step::Add(1)])] };
    let there = Plan::Send { room: b.id().to_owned(), plans: vec![back, Plan::Run(vec![Step::Add(10)])] };
    give(&a, [there, Plan::Run(vec![Step::Add(100)])]).await?;
    same!((a.count().await?, b.count().await?), (101, 10));
    Ok(())
}

// Purge.

async fn purge<H: Harness>(room: &Room<H, Planner>) -> Result<()> {
    same!(room.try_send(event(&[Plan::Purge])).await?, Ok(()));
    Ok(())
}

pub(super) async fn the_call_that_purges_succeeds_and_leaves_no_state<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    room.run([Step::Add(5)]).await?;
    same!(room.try_send(event(&[Plan::Run(vec![Step::Add(1)]), Plan::Purge])).await?, Ok(()));
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_erases_the_alarms<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [after(400, "once"), every(300, "tick")]).await?;
    purge(&room).await?;
    same!(next(&room).await?, None);
    pass(&h, 800).await;
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_closes_every_peer_with_1000_and_runs_no_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let (alice, bob) = (room.connect(guest("alice")).await?, room.connect(guest("bob")).await?);
    purge(&room).await?;
    for peer in [&alice, &bob] {
        same!(peer.closed().await?.0, 1000);
    }
    pass(&h, 200).await;
    same!(room.peer_ids().await?, Vec::<String>::new());
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_peer_may_purge_the_room_it_is_in<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1)]).await?;
    alice.send(&event(&[Plan::Purge])).await?;
    same!(alice.closed().await?.0, 1000);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn an_alarm_may_purge_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    give(&room, [Plan::Every { ms: 200, key: None, alarm: alarm("end", [Plan::Purge]) }]).await?;
    same!(alice.closed().await?.0, 1000);
    pass(&h, 500).await;
    same!(room.state().await?, None);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn a_purge_erases_the_tables_and_on_start_creates_them_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("insert into lines (user) values ('a'); create table more (x)", [])]).await?;
    purge(&room).await?;
    same!(ask(&room, one("select count(*) from lines")).await?, 0);
    same!(refused(&room, one("select count(*) from more")).await?.kind, ErrorKind::Sql);
    give(&room, [exec("insert into lines (user) values ('b')", [])]).await?;
    same!(ask(&room, one("select user from lines")).await?, "b");
    Ok(())
}

pub(super) async fn a_handler_in_flight_ends_with_purged_and_changes_nothing_after<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let waits = |gate| event(&[Plan::Run(vec![hold(gate), Step::Add(1)]), after(1, "never")]);
    let asked = h.begin(room.try_send(waits("one")));
    alice.holding("one").await?;
    let sent = h.begin(room.try_send(waits("two")));
    alice.holding("two").await?;
    purge(&room).await?;
    let ended = |failed: Failed| (failed.kind, failed.room);
    let purged = (ErrorKind::Purged, Some(room.id().to_owned()));
    same!(ended(is!(asked.await?, Err(failed) => failed)), purged);
    same!(ended(is!(sent.await?, Err(failed) => failed)), purged);
    pass(&h, 200).await;
    same!(room.state().await?, None);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn spawned_work_ends_with_the_room_that_spawned_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [Plan::Spawn(vec![Plan::Run(vec![Step::Sleep(300), Step::Add(1)])])]).await?;
    pass(&h, 50).await;
    purge(&room).await?;
    pass(&h, 600).await;
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn work_that_the_purging_handler_spawned_changes_nothing_after<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let spawn = Plan::Spawn(vec![Plan::Run(vec![Step::Add(1)])]);
    same!(room.try_send(event(&[spawn, Plan::Purge])).await?, Ok(()));
    pass(&h, 200).await;
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_purge_in_on_request_is_no_error_for_the_caller<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    room.run([Step::Add(1)]).await?;
    let outcome = attempt(&room, [Plan::Purge]).await;
    same!(room.state().await?, None);
    holds!(matches!(outcome, Ok(Ok(_))), "the caller got {outcome:?}");
    Ok(())
}

pub(super) async fn a_room_works_after_it_was_purged<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let old = room.connect(guest("alice")).await?;
    purge(&room).await?;
    same!(old.closed().await?.0, 1000);
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(2), say("again")]).await?;
    alice.hears(Some("alice"), "again").await?;
    same!((room.count().await?, room.peer_ids().await?), (2, vec!["alice".to_owned()]));
    give(&room, [after(15_000, "later")]).await?;
    room.hibernate().await?;
    pass(&h, 4_000).await;
    same!(names(&until_fired(&room, 1).await?), ["later"]);
    alice.fence().await?;
    Ok(())
}
