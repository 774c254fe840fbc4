//! Durable calls between rooms: stored with the state, delivered in order, handled once, or reported as undelivered.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --test outbox in_every` repeats one random life and tells it; `ROOM_SEEDS=…` sets
//! their number.

use std::{collections::BTreeSet, time::Duration};

use room_runtime::{
    ErrorKind,
    prelude::*,
    testing::{
        TestRoom, World,
        lives::{Lives, Run},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A room that sends numbers durably to others of its type, and takes them.
#[room(outbox_timeout = "1h")]
pub mod node {
    use std::time::Duration;

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        /// The numbers that this room has sent.
        pub sent: Vec<u64>,
        /// The senders and the numbers that this room has taken.
        pub taken: Vec<(String, u64)>,
        pub lost: Vec<Lost>,
        /// The runs of the handlers that fail.
        pub tries: u32,
        /// The errors of `durably`.
        pub errors: Vec<ErrorKind>,
    }

    #[data]
    pub struct Lost {
        pub to: String,
        pub number: u64,
        pub kind: ErrorKind,
        pub attempts: u32,
        pub age_ms: u64,
    }

    pub struct Connection {}

    pub enum Event {
        Send {
            to: String,
            numbers: Vec<u64>,
            how: How,
            then: Then,
        },
        Take {
            from: String,
            number: u64,
            how: How,
        },
        /// An event that does not read back.
        Garbled {
            #[serde(skip_serializing)]
            number: u64,
        },
        SendGarbled {
            to: String,
        },
        SendLarge {
            to: String,
            bytes: usize,
            times: u32,
        },
        SendNested,
        /// Sends in a transaction, which fails or not.
        #[cfg(feature = "sqlite")]
        Transact {
            to: String,
            number: u64,
            fails: bool,
        },
        Purge,
    }

    pub enum Broadcast {
        Nothing,
    }

    /// The behaviour of the handler that takes a number.
    #[data(externally_tagged)]
    pub enum How {
        Take,
        Slow {
            ms: u64,
        },
        Fail,
        Panic,
        FailOnce,
        Refuse,
        Purge,
        /// Sends the number on.
        Pass {
            to: Vec<String>,
        },
        /// Fails, and `on_undelivered` fails too at its first run.
        Stubborn,
    }

    /// The end of the handler that sends.
    #[data(externally_tagged)]
    pub enum Then {
        End,
        Fail,
        Wait { ms: u64 },
        Panic,
    }

    fn send(ctx: &Ctx, to: &str, number: u64, how: &How) -> Result {
        let event = Event::Take { from: ctx.id().to_string(), number, how: how.clone() };
        ctx.room::<Room>(to)?.send(&event).durably()?;
        Ok(())
    }

    fn note(ctx: &Ctx, outcome: Result<(), room_runtime::Error>) -> Result {
        if let Err(error) = outcome {
            ctx.update(|state| state.errors.push(error.kind()))?;
        }
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Send { to, numbers, how, then } => {
                for number in numbers {
                    ctx.update(|state| state.sent.push(number))?;
                    send(ctx, &to, number, &how)?;
                }
                match then {
                    Then::End => {}
                    Then::Fail => return Err(Failure::msg("the sender fails")),
                    Then::Wait { ms } => ctx.sleep(Duration::from_millis(ms)).await,
                    Then::Panic => panic!("the sender panics"),
                }
            }
            Event::Take { from, number, how } => {
                match how {
                    How::Take => {}
                    How::Slow { ms } => ctx.sleep(Duration::from_millis(ms)).await,
                    How::Fail | How::Stubborn => {
                        ctx.update(|state| state.tries += 1)?;
                        return Err(Failure::msg("the target fails"));
                    }
                    How::Panic => panic!("the target panics"),
                    How::FailOnce => {
                        let tries = ctx.update(|state| {
                            state.tries += 1;
                            state.tries
                        })?;
                        if tries == 1 {
                            return Err(Failure::msg("the target fails once"));
                        }
                    }
                    How::Refuse => {
                        ctx.update(|state| state.tries += 1)?;
                        return Err(ctx.refuse("the target refuses"));
                    }
                    How::Purge => return ctx.purge(),
                    How::Pass { to } => {
                        if let [next, rest @ ..] = &to[..] {
                            send(ctx, next, number, &How::Pass { to: rest.to_vec() })?;
                        }
                    }
                }
                ctx.update(|state| state.taken.push((from, number)))?;
            }
            Event::Garbled { .. } => {}
            Event::SendGarbled { to } => ctx.room::<Room>(to)?.send(&Event::Garbled { number: 0 }).durably()?,
            Event::SendLarge { to, bytes, times } => {
                for _ in 0..times {
                    let event = Event::SendGarbled { to: "x".repeat(bytes) };
                    note(ctx, ctx.room::<Room>(&*to)?.send(&event).durably())?;
                }
            }
            Event::SendNested => {
                let call = ctx.room::<Room>("b")?.send(&Event::Purge);
                let outcome = ctx.update(|_| call.durably())?;
                note(ctx, outcome)?;
            }
            #[cfg(feature = "sqlite")]
            Event::Transact { to, number, fails } => {
                let outcome = ctx.sql().transaction(|_| {
                    ctx.update(|state| state.sent.push(number))?;
                    send(ctx, &to, number, &How::Take)?;
                    if fails { Err(Failure::msg("rolled back")) } else { Ok(()) }
                });
                assert_eq!(outcome.is_err(), fails);
                // The handler goes on as after any rollback.
                send(ctx, &to, number + 1, &How::Take)?;
                ctx.update(|state| state.sent.push(number + 1))?;
            }
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
        assert_eq!((undelivered.room_name(), undelivered.binding()), ("node", "NODE"));
        assert!(undelivered.event::<super::other::Room>()?.is_none());
        let number = match undelivered.event::<Room>() {
            Ok(Some(Event::Take { number, how: How::Stubborn, .. })) => {
                let runs = ctx.update(|state| {
                    state.tries += 1;
                    state.tries
                })?;
                if runs == 1 {
                    return Err(Failure::msg("on_undelivered fails"));
                }
                number
            }
            Ok(Some(Event::Take { number, .. })) => number,
            Ok(event) => return Err(Failure::msg(format!("an event of another kind: {event:?}"))),
            // The event that does not read back.
            Err(error) => {
                assert_eq!((error.kind(), undelivered.event_json()), (ErrorKind::Decode, r#"{"type":"Garbled"}"#));
                0
            }
        };
        let lost = Lost {
            to: undelivered.room_id().to_string(),
            number,
            kind: undelivered.error().kind(),
            attempts: undelivered.attempts(),
            age_ms: undelivered.age().as_millis() as u64,
        };
        assert!(ctx.now_ms() >= undelivered.sent_at_ms() + lost.age_ms);
        ctx.update(|state| state.lost.push(lost))?;
        Ok(())
    }
}

/// A room of another type.
#[room]
pub mod other {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

/// A room whose `on_start` sets a late alarm and then takes long, once the room has sent something.
#[room]
pub mod late {
    use super::{HOUR, node};
    use room_runtime::prelude::*;
    use std::time::Duration;

    #[derive(Default)]
    pub struct State {
        pub has_sent: bool,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub async fn on_start(ctx: &Ctx) -> Result {
        if ctx.state()?.has_sent {
            ctx.schedule(()).key("late").after(48 * HOUR)?;
            ctx.sleep(Duration::from_secs(5)).await;
        }
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, _: Event) -> Result {
        ctx.update(|state| state.has_sent = true)?;
        let event = node::Event::Take { from: ctx.id().to_string(), number: 1, how: node::How::Take };
        Ok(ctx.room::<node::Room>("b")?.send(&event).durably()?)
    }

    pub fn on_alarm(_: &Ctx) {}

    pub fn on_undelivered(_: &Ctx, _: &Undelivered) {}
}

use node::{Event, How, Then};

type Node = TestRoom<node::Room>;

fn state(node: &Node) -> node::State {
    node.stored_state().map(|json| serde_json::from_str(&json).expect("a state")).unwrap_or_default()
}

fn taken(node: &Node) -> Vec<u64> {
    state(node).taken.into_iter().map(|(_, number)| number).collect()
}

fn sending(to: &Node, numbers: impl IntoIterator<Item = u64>, how: How) -> Event {
    Event::Send { to: to.id().to_string(), numbers: numbers.into_iter().collect(), how, then: Then::End }
}

fn send(from: &Node, to: &Node, numbers: impl IntoIterator<Item = u64>, how: How) {
    from.send(&sending(to, numbers, how)).expect("sent");
    from.world().advance(Duration::ZERO);
}

fn two() -> (Node, Node) {
    let world = World::new();
    (world.room("a"), world.room("b"))
}

#[test]
fn calls_arrive_in_order_when_the_handler_ends_and_leave_nothing_behind() {
    let (a, b) = two();
    send(&a, &b, 1..=300, How::Take);
    assert_eq!(taken(&b), (1..=300).collect::<Vec<_>>());
    // No alarm is left, and nothing is delivered again.
    let loads = a.incarnations();
    a.hibernate();
    a.world().advance(24 * HOUR);
    assert_eq!((a.incarnations(), taken(&b).len()), (loads, 300));
    send(&a, &b, [301], How::Take);
    assert_eq!(taken(&b).last(), Some(&301));
    a.assert_no_errors();
}

#[test]
fn a_call_is_delivered_while_the_handler_waits_and_also_if_it_fails() {
    let (a, b) = two();
    let waiting =
        |numbers: &[u64], then| Event::Send { to: "b".to_owned(), numbers: numbers.into(), how: How::Take, then };
    let alice = a.connect(Upgrade::new(node::Connection {}));
    alice.send(&waiting(&[1], Then::Wait { ms: 60_000 }));
    assert!(a.is_busy());
    assert_eq!(taken(&b), [1]);
    a.advance(2 * MINUTE);
    assert_eq!(a.send(&waiting(&[2], Then::Fail)).map_err(|error| error.kind()), Err(ErrorKind::Handler));
    a.advance(Duration::ZERO);
    assert_eq!((state(&a).sent, taken(&b)), (vec![1, 2], vec![1, 2]));
}

#[test]
fn a_target_that_is_down_gets_the_calls_later_and_the_room_sleeps_meanwhile() {
    let (a, b) = two();
    b.fail_calls(true);
    send(&a, &b, [1, 2], How::Take);
    for _ in 0..30 {
        // A room that waits by a timer cannot hibernate.
        a.hibernate();
        a.advance(MINUTE);
    }
    // The back-off grows, so the room sleeps through most of these minutes.
    let loads = a.incarnations();
    assert!((4..15).contains(&loads), "the room was loaded {loads} times");
    a.restart();
    b.fail_calls(false);
    a.advance(10 * MINUTE);
    assert_eq!(taken(&b), [1, 2]);
    send(&a, &b, [3], How::Take);
    assert_eq!((taken(&b), state(&a).lost.len()), (vec![1, 2, 3], 0));
}

#[test]
fn a_call_whose_answer_is_lost_is_handled_once() {
    let (a, b) = two();
    b.lose_answers(true);
    send(&a, &b, [1, 2], How::Take);
    b.restart();
    a.advance(MINUTE);
    assert_eq!(taken(&b), [1]);
    b.lose_answers(false);
    a.advance(10 * MINUTE);
    assert_eq!(taken(&b), [1, 2]);
}

#[test]
fn a_refusal_whose_answer_is_lost_is_the_same_refusal_again() {
    let (a, b) = two();
    b.lose_answers(true);
    send(&a, &b, [1], How::Refuse);
    b.hibernate();
    b.lose_answers(false);
    a.advance(10 * MINUTE);
    let lost = state(&a).lost;
    assert_eq!((state(&b).tries, lost.len(), lost[0].kind, lost[0].attempts), (1, 1, ErrorKind::Refused, 2));
}

#[test]
fn a_panic_after_the_call_keeps_both_the_state_and_the_call() {
    let (a, b) = two();
    let event = Event::Send { to: "b".to_owned(), numbers: vec![1], how: How::Take, then: Then::Panic };
    assert_eq!(a.send(&event).map_err(|error| error.kind()), Err(ErrorKind::Restarted));
    assert_eq!((state(&a).sent, taken(&b)), (vec![1], vec![]));
    // The alarm delivers it, though nobody visits the room.
    a.advance(MINUTE);
    assert_eq!(taken(&b), [1]);
}

#[test]
fn a_crash_of_either_room_during_a_call_repeats_it_once() {
    for crash in [|a: &Node, _: &Node| a.crash(), |_: &Node, b: &Node| b.crash(), |a: &Node, _: &Node| a.restart()] {
        let (a, b) = two();
        send(&a, &b, [1, 2], How::Slow { ms: 5_000 });
        a.advance(Duration::from_secs(1));
        assert!(taken(&b).is_empty());
        crash(&a, &b);
        a.advance(10 * MINUTE);
        assert_eq!(taken(&b), [1, 2]);
    }
}

#[test]
fn a_target_that_takes_long_is_asked_again_and_handles_the_call_once() {
    let (a, b) = two();
    send(&a, &b, [1, 2], How::Slow { ms: 100_000 });
    a.advance(90 * Duration::from_secs(1));
    assert!(taken(&b).is_empty());
    a.advance(30 * MINUTE);
    assert_eq!((taken(&b), state(&a).lost.len()), (vec![1, 2], 0));
}

#[test]
fn a_failing_handler_is_repeated() {
    let (a, b) = two();
    send(&a, &b, [1, 2], How::FailOnce);
    assert!(taken(&b).is_empty());
    a.advance(MINUTE);
    assert_eq!((taken(&b), state(&b).tries), (vec![1, 2], 3));
}

#[test]
fn a_refused_call_is_undelivered_at_once_and_the_next_goes_on() {
    let (a, b) = two();
    send(&a, &b, [1], How::Refuse);
    send(&a, &b, [2], How::Take);
    a.advance(Duration::from_secs(1));
    let lost = node::Lost { to: "b".to_owned(), number: 1, kind: ErrorKind::Refused, attempts: 1, age_ms: 0 };
    assert_eq!((state(&a).lost, taken(&b)), (vec![lost], vec![2]));
}

#[test]
fn a_call_whose_handler_always_fails_is_undelivered_after_the_timeout_and_the_next_goes_on() {
    let (a, b) = two();
    send(&a, &b, [1], How::Fail);
    send(&a, &b, [2], How::Take);
    a.advance(HOUR - MINUTE);
    assert_eq!((state(&a).lost, taken(&b)), (vec![], vec![]));
    a.hibernate();
    a.advance(2 * MINUTE);
    let lost = state(&a).lost;
    let [node::Lost { number: 1, kind: ErrorKind::Handler, attempts, age_ms, .. }] = &lost[..] else {
        panic!("{lost:?}")
    };
    assert_eq!((*attempts, *age_ms), (state(&b).tries, 3_600_000));
    assert!(*attempts > 10, "{attempts} attempts");
    assert_eq!(taken(&b), [2]);
}

#[test]
fn calls_that_waited_for_an_unreachable_target_are_undelivered_together() {
    let (a, b) = two();
    b.fail_calls(true);
    send(&a, &b, [1, 2, 3], How::Take);
    a.advance(HOUR / 2);
    send(&a, &b, [4], How::Take);
    a.advance(HOUR / 2 + MINUTE);
    let lost = state(&a).lost;
    assert_eq!(lost.iter().map(|lost| lost.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(lost.iter().all(|lost| lost.kind == ErrorKind::Overloaded), "{lost:?}");
    assert_eq!(lost.iter().map(|lost| lost.attempts > 0).collect::<Vec<_>>(), [true, false, false]);
    b.fail_calls(false);
    a.advance(10 * MINUTE);
    assert_eq!((taken(&b), state(&a).lost.len()), (vec![4], 3));
}

#[test]
fn an_event_that_does_not_decode_is_undelivered_after_ten_minutes() {
    let (a, b) = two();
    a.send(&Event::SendGarbled { to: "b".to_owned() }).expect("sent");
    a.advance(9 * MINUTE);
    assert!(state(&a).lost.is_empty());
    a.advance(2 * MINUTE);
    let lost = state(&a).lost;
    assert_eq!((lost.len(), lost[0].kind, lost[0].age_ms), (1, ErrorKind::Decode, 600_000));
    send(&a, &b, [1], How::Take);
    assert_eq!(taken(&b), [1]);
}

#[test]
fn an_on_undelivered_that_fails_runs_again_and_delays_no_call() {
    let (a, b) = two();
    send(&a, &b, [1], How::Stubborn);
    a.advance(HOUR);
    send(&a, &b, [2], How::Take);
    assert_eq!((state(&a).lost.len(), taken(&b)), (0, vec![2]));
    a.restart();
    a.advance(MINUTE);
    assert_eq!((state(&a).lost.len(), state(&a).tries), (1, 2));
    assert!(a.take_log()[0].contains("on_undelivered failed: on_undelivered fails"));
}

#[test]
fn a_purge_of_the_target_loses_and_blocks_no_call() {
    let (a, b) = two();
    send(&a, &b, [1, 2], How::Take);
    b.send(&Event::Purge).expect("purged");
    send(&a, &b, [3], How::Take);
    assert_eq!(taken(&b), [3]);
    send(&a, &b, [4], How::Purge);
    send(&a, &b, [5], How::Take);
    assert_eq!((taken(&b), state(&a).lost.len()), (vec![5], 0));
}

#[test]
fn a_purge_of_the_source_forgets_its_calls_and_the_next_life_delivers_its_own() {
    let (a, b) = two();
    send(&a, &b, 1..=3, How::Take);
    b.fail_calls(true);
    send(&a, &b, [4], How::Take);
    a.send(&Event::Purge).expect("purged");
    b.fail_calls(false);
    a.advance(HOUR);
    // The numbers begin again. The target must not take them for those of the last life.
    send(&a, &b, [5, 6], How::Take);
    assert_eq!((taken(&b), state(&a).sent), (vec![1, 2, 3, 5, 6], vec![5, 6]));
}

#[test]
fn a_purge_of_the_source_during_a_call_ends_its_delivery() {
    let (a, b) = two();
    send(&a, &b, [1, 2], How::Slow { ms: 5_000 });
    a.send(&Event::Purge).expect("purged");
    send(&a, &b, [3], How::Take);
    a.advance(HOUR);
    // The first was under way already. The second is forgotten, and the third is of another life.
    assert_eq!(taken(&b), [3, 1]);
    a.assert_no_errors();
}

#[test]
fn a_room_sends_to_itself_and_in_a_circle() {
    let (a, b) = two();
    send(&a, &a, [1, 2], How::Take);
    assert_eq!(taken(&a), [1, 2]);
    let to = ["a", "b", "b", "a", "a"].map(str::to_owned).to_vec();
    send(&a, &b, [3], How::Pass { to });
    assert_eq!((taken(&a), taken(&b)), (vec![1, 2, 3, 3, 3], vec![3, 3, 3]));
}

#[test]
fn targets_do_not_wait_for_each_other() {
    let (a, b) = two();
    let rooms: Vec<Node> = (0..100).map(|n| a.world().room(format!("t{n}"))).collect();
    b.fail_calls(true);
    send(&a, &b, [1], How::Take);
    for room in &rooms {
        a.send(&sending(room, [1, 2], How::Slow { ms: 100 })).expect("sent");
    }
    a.advance(Duration::from_secs(10));
    assert!(rooms.iter().all(|room| taken(room) == [1, 2]));
    b.fail_calls(false);
    a.advance(MINUTE);
    assert_eq!(taken(&b), [1]);
}

#[test]
fn a_call_over_the_limits_is_a_typed_error_and_stores_nothing() {
    let (a, b) = two();
    b.fail_calls(true);
    let large = |bytes, times| Event::SendLarge { to: "b".to_owned(), bytes, times };
    a.send(&large(1_950_000, 1)).expect("handled");
    a.send(&Event::SendLarge { to: String::new(), bytes: 1, times: 1 }).expect("handled");
    a.send(&Event::SendNested).expect("handled");
    assert_eq!(state(&a).errors, [ErrorKind::ValueTooLarge, ErrorKind::InvalidRoomId, ErrorKind::NestedUpdate]);
    a.send(&large(1_900_000, 9)).expect("handled");
    assert_eq!(state(&a).errors[3..], [ErrorKind::OutboxFull]);
    let (a, b) = two();
    b.fail_calls(true);
    a.send(&large(1, 10_001)).expect("handled");
    assert_eq!(state(&a).errors, [ErrorKind::OutboxFull]);
    // A room that wakes counts what it has stored.
    a.hibernate();
    a.send(&large(1, 1)).expect("handled");
    assert_eq!(state(&a).errors, [ErrorKind::OutboxFull; 2]);
}

#[test]
fn storage_that_fails_stores_neither_the_state_nor_the_call() {
    let (a, b) = two();
    send(&a, &b, [1], How::Take);
    a.fail_writes(true);
    let failed = a.send(&sending(&b, [2], How::Take)).map_err(|error| error.kind());
    assert_eq!(failed, Err(ErrorKind::Storage));
    a.fail_writes(false);
    a.advance(HOUR);
    assert_eq!((state(&a).sent, taken(&b)), (vec![1], vec![1]));
}

#[test]
fn a_call_whose_handler_panics_takes_none_behind_it_with_it() {
    let (a, b) = two();
    send(&a, &b, [1], How::Panic);
    send(&a, &b, [2, 3], How::Take);
    a.advance(2 * HOUR);
    assert_eq!((state(&a).lost.len(), taken(&b)), (1, vec![2, 3]));
}

#[test]
fn a_crash_in_an_on_start_that_sets_an_alarm_delays_no_call() {
    let world = World::new();
    let (a, b): (TestRoom<late::Room>, Node) = (world.room("a"), world.room("b"));
    let alice = a.connect(Upgrade::new(late::Connection {}));
    b.fail_calls(true);
    alice.send(&late::Event {});
    world.advance(Duration::ZERO);
    a.hibernate();
    b.fail_calls(false);
    // A frame wakes the room before the next attempt. Its `on_start` sets an alarm for a later time, and takes 5 seconds.
    alice.send(&late::Event {});
    assert!(a.is_busy());
    a.crash();
    world.advance(MINUTE);
    assert_eq!(taken(&b), [1]);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_call_after_a_rollback_whose_answer_is_lost_is_handled_once_after_a_restart() {
    let (a, b) = two();
    b.lose_answers(true);
    // The rollback also undoes the identity of the outbox, under which the second call must not be sent.
    a.send(&Event::Transact { to: "b".to_owned(), number: 1, fails: true }).expect("handled");
    a.advance(Duration::ZERO);
    assert_eq!(taken(&b), [2]);
    a.restart();
    b.lose_answers(false);
    a.advance(MINUTE);
    assert_eq!((taken(&b), state(&a).lost.len()), (vec![2], 0));
}

#[cfg(feature = "sqlite")]
#[test]
fn a_transaction_keeps_its_calls_or_rolls_them_back() {
    let (a, b) = two();
    let transact = |number, fails| {
        a.send(&Event::Transact { to: "b".to_owned(), number, fails }).expect("handled");
        a.advance(Duration::ZERO);
    };
    // The first call of the room is one that is rolled back, together with the identity of the outbox.
    transact(1, true);
    assert_eq!((state(&a).sent, taken(&b)), (vec![2], vec![2]));
    transact(3, false);
    transact(5, true);
    let delivered = [2, 3, 4, 6];
    assert_eq!((state(&a).sent, taken(&b)), (delivered.to_vec(), delivered.to_vec()));
    // A call that waits for its next attempt is not affected by a rollback, and one that is rolled back does not follow it.
    b.fail_calls(true);
    transact(7, true);
    transact(9, true);
    b.fail_calls(false);
    a.advance(MINUTE);
    assert_eq!(taken(&b), [2, 3, 4, 6, 8, 10]);
    let loads = a.incarnations();
    a.hibernate();
    a.advance(24 * HOUR);
    assert_eq!((a.incarnations(), taken(&b).len(), state(&a).lost.len()), (loads, 6, 0));
    a.assert_no_errors();
}

#[test]
fn a_delivered_call_that_stays_in_storage_is_handled_once() {
    let (a, b) = two();
    send(&a, &b, [1, 2], How::Slow { ms: 1_000 });
    a.fail_writes(true);
    a.advance(MINUTE);
    assert_eq!(taken(&b), [1]);
    a.fail_writes(false);
    a.advance(10 * MINUTE);
    assert_eq!(taken(&b), [1, 2]);
}

#[test]
fn storage_that_cannot_be_read_delays_the_calls() {
    let (a, b) = two();
    b.fail_calls(true);
    send(&a, &b, [1, 2], How::Take);
    b.fail_calls(false);
    a.fail_reads(true);
    a.restart();
    a.advance(10 * MINUTE);
    assert!(taken(&b).is_empty());
    a.fail_reads(false);
    a.advance(HOUR / 2);
    assert_eq!(taken(&b), [1, 2]);
}

#[test]
fn a_room_whose_alarm_is_lost_finds_its_calls_when_it_next_starts() {
    let (a, b) = two();
    b.fail_calls(true);
    send(&a, &b, [1], How::Take);
    b.fail_calls(false);
    a.lose_alarm();
    a.restart();
    a.advance(MINUTE);
    assert!(taken(&b).is_empty());
    a.send(&sending(&a, [], How::Take)).expect("handled");
    a.advance(Duration::ZERO);
    assert_eq!(taken(&b), [1]);
}

/// Everything that is sent durably is handled at most once and in order for each target, and is handled or reported.
#[test]
fn in_every_order_of_events_each_call_is_handled_once_or_reported() {
    let command = "cargo test -p room-runtime --test outbox in_every";
    Lives { command, seeds: 400, steps: 40 }.run(live);
}

fn live(run: &Run) {
    let world = run.world();
    let nodes: Vec<Node> = ["a", "b", "c"].map(|id| world.room(id)).into();
    let mut next = 0;
    for mut step in run.steps() {
        let dice = &mut step.dice;
        let (from, to) = (&nodes[dice.below(3) as usize], &nodes[dice.below(3) as usize]);
        let id = from.id();
        match dice.below(12) {
            0..=4 => {
                let count = 1 + dice.below(3);
                let how = match dice.below(5) {
                    0 => How::Slow { ms: dice.below(40_000) },
                    1 => How::Refuse,
                    2 => How::FailOnce,
                    _ => How::Take,
                };
                run.note(|| format!("{id} sends {count} from {next} on to {}, {how:?}", to.id()));
                // The sender may be unreachable, or its storage may fail: then nothing is sent.
                let _ = from.send(&sending(to, next..next + count, how));
                next += count;
            }
            5 => {
                run.note(|| format!("{id} crashes"));
                from.crash();
            }
            6 => {
                run.note(|| format!("{id} restarts"));
                from.restart();
            }
            what @ 7..=9 => {
                let fails = if what == 9 { dice.once_in(3) } else { dice.once_in(2) };
                run.note(|| format!("{id}: {} fail: {fails}", ["calls", "answers", "writes"][what as usize - 7]));
                match what {
                    7 => from.fail_calls(fails),
                    8 => from.lose_answers(fails),
                    _ => from.fail_writes(fails),
                }
            }
            10 => {
                world.advance(Duration::ZERO);
                if !from.is_busy() {
                    run.note(|| format!("{id} hibernates"));
                    from.hibernate();
                }
            }
            _ => {
                let ms = dice.below(3_000) * dice.below(1_000);
                run.note(|| format!("advance {ms}"));
                world.advance(Duration::from_millis(ms));
            }
        }
    }
    for node in &nodes {
        node.fail_calls(false);
        node.lose_answers(false);
        node.fail_writes(false);
    }
    world.advance(6 * HOUR);
    let states: Vec<_> = nodes.iter().map(state).collect();
    for (from, sender) in nodes.iter().zip(&states) {
        let sent: BTreeSet<u64> = sender.sent.iter().copied().collect();
        let mut known: BTreeSet<u64> = sender.lost.iter().map(|lost| lost.number).collect();
        for (to, target) in nodes.iter().zip(&states) {
            let taken = target.taken.iter().filter(|(of, _)| of == from.id().as_str()).map(|(_, number)| *number);
            let taken: Vec<u64> = taken.collect();
            assert!(taken.is_sorted_by(|one, next| one < next), "{} of {}: {taken:?}", to.id(), from.id());
            known.extend(taken);
        }
        assert_eq!(sent, known, "the calls of {}: those sent, and those handled or reported", from.id());
    }
}
