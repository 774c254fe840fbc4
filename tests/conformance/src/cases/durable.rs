//! Durable calls from room to room.

use std::time::Duration;

use anyhow::Result;
use conformance_rooms::{
    acts::Act,
    planner::Plan,
    probe,
    script::{State, Step},
};
use room_runtime::ErrorKind;

use super::{
    planner::{Planner, ask, attempt, give, refused},
    steps::{hold, log, open},
};
use crate::{
    harness::{Harness, Room, guest, room, until},
    memory::Memory,
};

type Probe = probe::Room;

fn tell<H: Harness>(to: &Room<H, Probe>, steps: impl Into<Vec<Step>>) -> Plan {
    Plan::TellDurably { room: to.id().to_owned(), steps: steps.into() }
}

fn send<H: Harness>(to: &Room<H, Planner>, plans: impl Into<Vec<Plan>>) -> Plan {
    Plan::SendDurably { room: to.id().to_owned(), plans: plans.into() }
}

/// Waits until the log of a room has this many lines, and returns it.
async fn until_logged<H: Harness, R: conformance_rooms::script::Scripted>(
    room: &Room<H, R>,
    lines: usize,
) -> Result<Vec<String>> {
    until(room.harness(), "the log", || room.log(), |log| log.len() >= lines).await
}

pub(super) async fn durable_calls_arrive_in_order_and_once<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let lines: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let plans: Vec<Plan> = lines.iter().map(|line| tell(&probe, [Step::Sleep(1), log(line)])).collect();
    give(&planner, plans).await?;
    same!(until_logged(&probe, 20).await?, lines);
    // A later call follows the others, so none of them is still to come.
    ask(&planner, tell(&probe, [log("last")])).await?;
    same!(until_logged(&probe, 21).await?[20..], ["last"]);
    Ok(())
}

pub(super) async fn a_durable_call_does_not_delay_its_handler<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let alice = probe.connect(guest("alice")).await?;
    ask(&planner, tell(&probe, [hold("gate"), Step::Add(1)])).await?;
    alice.holding("gate").await?;
    same!(probe.count().await?, 0);
    alice.run([open("gate")]).await?;
    until(&h, "the call", || probe.count(), |count| *count == 1).await?;
    Ok(())
}

pub(super) async fn a_durable_call_is_delivered_also_if_its_handler_fails<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let plans =
        [Plan::Run(vec![log("kept")]), tell(&probe, [log("sent")]), Plan::Run(vec![Step::Fail("no".to_owned())])];
    is!(attempt(&planner, plans).await?, Err(_));
    same!((until_logged(&probe, 1).await?, planner.log().await?), (vec!["sent".to_owned()], vec!["kept".to_owned()]));
    Ok(())
}

pub(super) async fn a_durable_call_survives_a_panic_right_after_it<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let plans = [Plan::Run(vec![log("kept")]), tell(&probe, [log("sent")]), Plan::Run(vec![Step::Panic])];
    is!(attempt(&planner, plans).await?, Err(_));
    // The alarm delivers it: no event loads the planner.
    same!(until_logged(&probe, 1).await?, ["sent"]);
    same!(planner.log().await?, ["kept"]);
    Ok(())
}

pub(super) async fn a_durable_call_survives_a_restart_while_it_runs<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let alice = probe.connect(guest("alice")).await?;
    give(
        &planner,
        [tell(&probe, [Step::Say("begun".to_owned()), Step::Sleep(500), log("one")]), tell(&probe, [log("two")])],
    )
    .await?;
    alice.hears(None, "begun").await?;
    planner.restart().await?;
    let log = until(&h, "both calls", || probe.log(), |log| log.iter().any(|line| line == "two")).await?;
    let log: Vec<_> = log.into_iter().filter(|line| line == "one" || line == "two").collect();
    same!(log, ["one", "two"]);
    Ok(())
}

pub(super) async fn a_durable_call_during_which_the_target_panics_is_repeated<H: Harness>(h: H) -> Result<()> {
    let (from, to) = (room::<Planner, _>(&h, "p"), room::<Planner, _>(&h, "q"));
    let plans = [Plan::Trip { times: 1, panics: true }, Plan::Run(vec![log("one")])];
    give(&from, [send(&to, plans), send(&to, [Plan::Run(vec![log("two")])])]).await?;
    same!(until_logged(&to, 2).await?, ["one", "two"]);
    Ok(())
}

pub(super) async fn a_durable_call_whose_handler_fails_is_repeated_before_the_next<H: Harness>(h: H) -> Result<()> {
    let (from, to) = (room::<Planner, _>(&h, "p"), room::<Planner, _>(&h, "q"));
    let plans = [Plan::Trip { times: 1, panics: false }, Plan::Run(vec![log("one")])];
    give(&from, [send(&to, plans), send(&to, [Plan::Run(vec![log("two")])])]).await?;
    same!(until_logged(&to, 2).await?, ["one", "two"]);
    same!(to.count().await?, 2);
    same!(from.log().await?, Vec::<String>::new());
    Ok(())
}

pub(super) async fn a_refused_durable_call_is_undelivered_at_once_and_the_next_follows<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let refusing = vec![Step::Add(1), Step::Refuse("no".to_owned())];
    let script = serde_json::to_string(&refusing)?;
    give(&planner, [tell(&probe, refusing), tell(&probe, [log("next")])]).await?;
    same!(until_logged(&probe, 1).await?, ["next"]);
    let note = format!("undelivered at once to probe/{}: refused {script}", probe.id());
    same!(until_logged(&planner, 1).await?, [note]);
    same!(probe.count().await?, 1);
    Ok(())
}

pub(super) async fn a_durable_call_that_keeps_failing_is_undelivered_after_the_timeout<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let failing = vec![Step::Add(1), Step::Fail("no".to_owned())];
    let script = serde_json::to_string(&failing)?;
    give(&planner, [tell(&probe, failing), tell(&probe, [log("next")])]).await?;
    let note = format!("undelivered late to probe/{}: handler {script}", probe.id());
    same!(until_logged(&planner, 1).await?, [note]);
    // The lines before it are those of `on_error`.
    let next = |log: &Vec<String>| log.last().is_some_and(|line| line == "next");
    until(&h, "the next call", || probe.log(), next).await?;
    let attempts = probe.count().await?;
    holds!((2..10).contains(&attempts), "{attempts} attempts in 5 seconds");
    Ok(())
}

pub(super) async fn durable_calls_of_a_transaction_arrive_unless_it_fails<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let tell = |text: &str| Act::TellDurably { to: probe.id().to_owned(), text: text.to_owned() };
    let failing = |text| Act::Try(Box::new(Act::Transact(vec![tell(text), Act::Add(10), Act::Fail("no".to_owned())])));
    // The first call of the room is rolled back, with everything that the outbox has stored for it.
    ask(&planner, Plan::Act(vec![failing("lost"), tell("one"), Act::Transact(vec![Act::Add(1), tell("two")])])).await?;
    same!(until_logged(&probe, 2).await?, ["one", "two"]);
    ask(&planner, Plan::Act(vec![tell("three"), failing("lost"), tell("four")])).await?;
    same!(until_logged(&probe, 4).await?, ["one", "two", "three", "four"]);
    ask(&planner, Plan::Act(vec![tell("last")])).await?;
    same!((until_logged(&probe, 5).await?[4..].to_vec(), planner.count().await?), (vec!["last".to_owned()], 1));
    Ok(())
}

pub(super) async fn a_purge_of_the_target_loses_and_blocks_no_durable_call<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    give(&planner, [tell(&probe, [log("one")]), tell(&probe, [Step::Purge]), tell(&probe, [log("two")])]).await?;
    same!(until(&h, "the call", || probe.log(), |log| log == &["two"]).await?, ["two"]);
    same!(planner.log().await?, Vec::<String>::new());
    Ok(())
}

pub(super) async fn a_purge_of_the_room_forgets_its_durable_calls_and_later_ones_arrive<H: Harness>(
    h: H,
) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let alice = probe.connect(guest("alice")).await?;
    give(&planner, [tell(&probe, [hold("gate"), log("one")]), tell(&probe, [log("forgotten")])]).await?;
    alice.holding("gate").await?;
    give(&planner, [Plan::Purge]).await?;
    alice.run([open("gate")]).await?;
    same!(until_logged(&probe, 2).await?[1..], ["one"]);
    // The first call of the next life has the number of the first call of the last one.
    ask(&planner, tell(&probe, [log("two")])).await?;
    same!(until_logged(&probe, 3).await?[1..], ["one", "two"]);
    Ok(())
}

pub(super) async fn a_room_calls_itself_and_others_durably_in_a_circle<H: Harness>(h: H) -> Result<()> {
    let (a, b) = (room::<Planner, _>(&h, "p"), room::<Planner, _>(&h, "q"));
    let logs = |text: &str| Plan::Run(vec![log(text)]);
    let circle = send(&b, [logs("b"), send(&b, [logs("b again"), send(&a, [logs("a"), send(&a, [logs("a again")])])])]);
    ask(&a, circle).await?;
    same!(
        (until_logged(&a, 2).await?, b.log().await?),
        (vec!["a".to_owned(), "a again".to_owned()], vec!["b".to_owned(), "b again".to_owned()],)
    );
    Ok(())
}

pub(super) async fn a_durable_call_over_the_limits_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    let large = tell(&probe, [log(&"x".repeat(1_950_000))]);
    same!(refused(&planner, large).await?.kind, ErrorKind::ValueTooLarge);
    let nameless = Plan::TellDurably { room: String::new(), steps: Vec::new() };
    same!(refused(&planner, nameless).await?.kind, ErrorKind::InvalidRoomId);
    // An event that is just small enough is stored and delivered.
    let fits = "x".repeat(1_949_000);
    ask(&planner, tell(&probe, [log(&fits)])).await?;
    let State { log, .. } =
        until(&h, "the call", || async { Ok(probe.state().await?.unwrap_or_default()) }, |it| !it.log.is_empty())
            .await?;
    holds!(log == [fits], "another text arrived");
    Ok(())
}

pub(super) async fn a_room_with_waiting_durable_calls_sleeps(h: Memory) -> Result<()> {
    let (planner, probe) = (room::<Planner, _>(&h, "p"), room::<Probe, _>(&h, "q"));
    h.room::<Probe>(probe.id()).fail_calls(true);
    ask(&planner, tell(&probe, [log("one")])).await?;
    // A room that waits by a timer cannot hibernate.
    h.room::<Planner>(planner.id()).hibernate();
    h.clone().pass(Duration::from_secs(1)).await;
    h.room::<Probe>(probe.id()).fail_calls(false);
    same!(until_logged(&probe, 1).await?, ["one"]);
    Ok(())
}
