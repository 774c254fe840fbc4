//! Rule 3: the state of a room.

use anyhow::Result;
use conformance_rooms::{
    founded, plain, probe,
    script::{Broadcast, Event, State, Step, Thing},
};
use room_runtime::ErrorKind;

use super::steps::{EVENT_DEPTH, UNWRITABLE, attempt, deep_event, hold, log, open, report, say, sender, whisper};
use crate::harness::{Harness, guest, room, until};

pub(super) async fn state_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(5), log("five")]).await?;
    alice.fence().await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Report]).await?)?.count, 5);
    alice.run([Step::Add(1)]).await?;
    alice.fence().await?;
    same!(
        room.state().await?.map(|state| (state.count, state.log)),
        Some((6, vec!["connect alice".into(), "five".into()]))
    );
    Ok(())
}

pub(super) async fn a_change_is_stored_at_the_end_of_a_handler_that_sends_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(3)]).await?;
    room.hibernate().await?;
    same!(room.count().await?, 3);
    Ok(())
}

pub(super) async fn a_change_is_stored_before_a_message_is_sent<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([Step::Add(1), say("one"), Step::Panic]).await?;
    bob.hears(Some("alice"), "one").await?;
    alice.hears(Some("alice"), "one").await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_change_is_stored_before_a_handler_waits<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1), Step::Sleep(20), Step::Add(1), Step::Sleep(20), Step::Panic]).await?;
    same!(alice.next_error().await?.code, ErrorKind::Restarted);
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn changes_of_a_call_are_stored_when_it_is_answered<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    room.run([Step::Add(1)]).await?;
    room.restart().await?;
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_nested_update_is_a_typed_error_and_changes_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let kinds = is!(alice.ask([Step::Nest]).await?, Broadcast::Kinds { kinds } => kinds);
    same!(kinds, ["nested_update", "nested_update", "nested_update"]);
    // The outer update took effect.
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_snapshot_stays_as_it_was<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Snapshot]).await?;
    alice.expect(Broadcast::Snapshot { before: 0, after: 1 }).await?;
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_try_update_that_fails_changes_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let outcome = alice.ask([Step::Add(1), attempt(Step::TryAddAndFail(10))]).await?;
    same!(outcome, Broadcast::Outcome { kind: Some(ErrorKind::Handler), message: "it changed its mind".to_owned() });
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn handlers_that_interleave_lose_no_change<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    alice.run([Step::Add(1), hold("a"), Step::Add(10)]).await?;
    carol.holding("a").await?;
    bob.run([Step::Add(100), hold("b"), Step::Add(1_000)]).await?;
    carol.holding("b").await?;
    carol.run([open("a"), open("b"), Step::Sleep(1), whisper("both")]).await?;
    carol.hears(Some("carol"), "both").await?;
    same!(room.count().await?, 1_111);
    Ok(())
}

pub(super) async fn a_state_that_is_too_large_is_a_typed_error_and_the_old_one_stays<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    room.run([Step::Add(1)]).await?;
    let error = is!(room.try_run([Step::Add(1), Step::Fill(2_000_000)]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::ValueTooLarge);
    holds!(error.message.contains("2000000"), "the limit is missing in {:?}", error.message);
    same!(room.state().await?, Some(State { count: 1, ..State::default() }));
    room.run([Step::Add(1)]).await?;
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_state_nearly_as_large_as_it_may_be_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    const BYTES: usize = 1_999_900;
    let room = room::<plain::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.run([Step::Fill(BYTES)]).await?;
    room.hibernate().await?;
    same!(report(alice.ask([Step::Add(1), Step::Report]).await?)?.count, 1);
    same!(room.state().await?.map(|state| state.blob.len()), Some(BYTES));
    Ok(())
}

pub(super) async fn no_message_is_sent_of_a_state_that_cannot_be_stored<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Fill(2_000_000), say("stored")]).await?;
    alice.hears_of_a_failure().await?;
    alice.fence().await?;
    alice.run([Step::Fill(2_000_000), attempt(say("stored"))]).await?;
    let kind = is!(alice.next().await?, Broadcast::Outcome { kind, .. } => kind);
    same!(kind, Some(ErrorKind::ValueTooLarge));
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn floats_keep_their_value_to_the_last_bit<H: Harness>(h: H) -> Result<()> {
    // A fast but inexact parser misreads the first of them.
    const FLOATS: [f64; 9] = [
        -1.119_313_317_998_188_7e-17,
        122.416_294_033_786_58,
        51.248_178_375_444_2,
        0.1 + 0.2,
        -0.0,
        5e-324,
        f64::MAX,
        1e23,
        9_007_199_254_740_993.0,
    ];
    let bits = |things: &[Thing]| -> Result<Vec<u64>> {
        things.iter().map(|thing| Ok(is!(thing, Thing::Float(value) => value.to_bits()))).collect()
    };
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let keep = |value| [Step::Keep(0, Thing::Float(value)), Step::KeepInData(Thing::Float(value))];
    alice.run(FLOATS.into_iter().flat_map(keep).collect::<Vec<_>>()).await?;
    alice.fence().await?;
    room.hibernate().await?;
    let (state, data) = is!(alice.ask([Step::Show]).await?, Broadcast::Kept { state, data } => (state, data));
    let expected = FLOATS.map(f64::to_bits);
    same!(bits(&state)?, expected);
    same!(bits(&data)?, expected);
    same!(bits(&room.state().await?.unwrap_or_default().kept)?, expected);
    Ok(())
}

pub(super) async fn an_event_as_deep_as_it_may_be_can_be_stored_and_read_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // The state nests it deeper than the event did.
    let (event, thing) = deep_event(EVENT_DEPTH, |thing| Step::Keep(20, thing))?;
    alice.send_raw(serde_json::to_string(&event)?).await?;
    alice.fence().await?;
    for depth in [EVENT_DEPTH + 1, 120, 126, 127, 128] {
        let (event, _) = deep_event(depth, |thing| Step::Keep(20, thing))?;
        alice.send_raw(serde_json::to_string(&event)?).await?;
        same!(alice.next_error().await?.code, ErrorKind::Decode);
    }
    alice.fence().await?;
    let kept = vec![thing.inside(20)];
    room.hibernate().await?;
    let shown = alice.ask([Step::Show]).await?;
    same!(shown, Broadcast::Kept { state: kept.clone(), data: Vec::new() });
    same!(room.state().await?.map(|state| state.kept), Some(kept));
    Ok(())
}

pub(super) async fn a_state_that_would_not_be_read_again_is_a_typed_error_and_the_old_one_stays<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1)]).await?;
    for what in UNWRITABLE {
        alice.run([attempt(Step::KeepUnwritable(what))]).await?;
        let (kind, message) = is!(alice.next().await?, Broadcast::Outcome { kind, message } => (kind, message));
        holds!(kind == Some(ErrorKind::Encode), "{what:?}: {kind:?} {message}");
        holds!(message.contains("the room's state cannot be written as JSON: it "), "{what:?}: {message}");
        let error = is!(room.try_run([Step::KeepUnwritable(what)]).await?, Err(error) => error);
        same!(error.kind, ErrorKind::Encode);
        let state = room.state().await?.unwrap_or_default();
        same!((state.count, state.kept), (1, Vec::new()));
    }
    room.hibernate().await?;
    same!(alice.ask([Step::Show]).await?, Broadcast::Kept { state: Vec::new(), data: Vec::new() });
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn an_alarm_as_deep_as_an_event_may_be_is_read_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let (event, thing) = deep_event(EVENT_DEPTH, |thing| Step::Keep(0, thing))?;
    let mut steps = is!(event, Event::Do { steps } => steps);
    steps.push(say("awake"));
    let event = Event::Schedule { after_ms: 15_000, steps };
    alice.send_raw(serde_json::to_string(&event)?).await?;
    room.hibernate().await?;
    alice.hears(None, "awake").await?;
    same!(room.state().await?.map(|state| state.kept), Some(vec![thing]));
    Ok(())
}

pub(super) async fn a_room_is_initialized_when_its_state_is_first_changed<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let initialized = |is| Broadcast::Initialized { is };
    same!(alice.ask([Step::IsInitialized]).await?, initialized(false));
    // Neither a read nor a failed change alters the state.
    same!(report(alice.ask([Step::Report]).await?)?.count, 0);
    alice.run([attempt(Step::TryAddAndFail(1)), Step::IsInitialized]).await?;
    is!(alice.next().await?, Broadcast::Outcome { .. });
    alice.expect(initialized(false)).await?;
    same!(room.state().await?, None);

    alice.run([Step::Add(1), Step::IsInitialized]).await?;
    alice.expect(initialized(true)).await?;
    same!(room.state().await?, Some(State { count: 1, ..State::default() }));
    Ok(())
}

pub(super) async fn a_room_that_was_never_changed_stays_uninitialized_over_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    same!(report(alice.ask([Step::Report]).await?)?.count, 0);
    room.hibernate().await?;
    same!(alice.ask([Step::IsInitialized]).await?, Broadcast::Initialized { is: false });
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn init_runs_once_in_the_life_of_a_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // The state is not initialized before it is needed.
    same!(room.state().await?, None);
    same!(report(alice.ask([Step::Report]).await?)?.count, 100);
    let state = State { count: 100, log: vec![format!("init 1 of founded/{}", room.id())], ..State::default() };
    same!(room.state().await?, Some(state.clone()));
    room.hibernate().await?;
    same!(report(alice.ask([Step::Report]).await?)?.count, 100);
    same!(room.state().await?, Some(state));
    Ok(())
}

pub(super) async fn the_first_change_starts_from_the_result_of_init<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "r");
    room.run([Step::Add(1)]).await?;
    same!(room.count().await?, 101);
    Ok(())
}

pub(super) async fn a_failing_init_is_an_error_and_is_retried<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("init", [log("fail")]).await?;
    let error = is!(room.try_run([Step::Add(1)]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Handler);
    holds!(error.message.contains("there is no founder"), "{:?}", error.message);
    alice.run([attempt(Step::Report), attempt(Step::Add(1))]).await?;
    for _ in 0..2 {
        let kind = is!(alice.next().await?, Broadcast::Outcome { kind, .. } => kind);
        same!(kind, Some(ErrorKind::Handler));
    }
    same!(room.state().await?, None);

    room.script("init", []).await?;
    room.run([Step::Add(1)]).await?;
    let state = room.state().await?.unwrap_or_default();
    same!((state.count, state.log), (101, vec![format!("init 1 of founded/{}", room.id())]));
    Ok(())
}

pub(super) async fn numbers_and_text_of_any_kind_keep_their_value<H: Harness>(h: H) -> Result<()> {
    const NUMBER: i64 = 9_007_199_254_740_993;
    const TEXT: &str = "\0\u{1}\n\"\\/ä\u{2028}\u{feff}\u{10ffff}👩‍👩‍👧 </script>";
    let room = room::<probe::Room, _>(&h, TEXT);
    let alice = room.connect(guest("alice").name(TEXT)).await?;
    alice.run([Step::Add(NUMBER), log(TEXT), say(TEXT)]).await?;
    alice.hears(Some("alice"), TEXT).await?;
    same!(room.count().await?, NUMBER);
    same!(room.log().await?, ["connect alice", TEXT]);
    room.hibernate().await?;
    let report = report(alice.ask([Step::Report]).await?)?;
    same!((report.count, &*report.room), (NUMBER, room.id()));
    same!(report.sender.map(|sender| sender.name).as_deref(), Some(TEXT));
    Ok(())
}

pub(super) async fn nothing_is_sent_closed_or_purged_inside_an_update<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let kinds = is!(alice.ask([Step::NestEffects]).await?, Broadcast::Kinds { kinds } => kinds);
    same!(kinds, vec!["nested_update"; 9]);
    // No message was sent; the update and the data are kept.
    alice.fence().await?;
    same!(room.count().await?, 1);
    same!(sender(alice.ask([Step::Report]).await?)?.name, "alice");
    Ok(())
}

pub(super) async fn a_failed_try_update_has_sent_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([attempt(Step::TryAddTellAndFail(5))]).await?;
    let kind = is!(alice.next().await?, Broadcast::Outcome { kind, .. } => kind);
    same!(kind, Some(ErrorKind::NestedUpdate));
    alice.fence().await?;
    same!(room.count().await?, 0);
    Ok(())
}

pub(super) async fn a_change_that_cannot_be_stored_where_a_handler_waits_ends_the_handler<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let large = [Step::Fill(3_000_000), Step::Sleep(1), say("told"), log("and more")];
    alice.run(large.clone()).await?;
    alice.hears_of_a_failure().await?;
    let error = is!(room.try_run(large).await?, Err(error) => error);
    same!(error.kind, ErrorKind::ValueTooLarge);
    alice.fence().await?;
    let log = room.log().await?;
    same!((log.len(), &*log[0]), (3, "connect alice"));
    holds!(log[1].starts_with("error on_event alice: value_too_large"), "{log:?}");
    holds!(log[2].starts_with("error on_event nobody: value_too_large"), "{log:?}");
    Ok(())
}

pub(super) async fn a_change_that_cannot_be_stored_where_spawned_work_waits_ends_the_work<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Spawn(vec![Step::Fill(3_000_000), Step::Sleep(1), say("told")])]).await?;
    let is_told = |log: &Vec<String>| log.iter().any(|line| line.starts_with("error spawn nobody: value_too_large"));
    until(&h, "on_error", || room.log(), is_told).await?;
    alice.fence().await
}

pub(super) async fn init_may_send_and_has_no_state<H: Harness>(h: H) -> Result<()> {
    let room = room::<founded::Room, _>(&h, "r");
    room.script("init", [say("what the state is")]).await?;
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1)]).await?;
    alice.hears(None, "nested_update").await?;
    alice.fence().await?;
    same!(room.count().await?, 101);
    Ok(())
}
