//! Tests of the test kit: its scheduling, the report of a failing test, and its agreement with the platform.

use std::{
    env,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    task::Poll,
    time::Duration,
};

use futures_channel::oneshot;
use futures_util::future::{Either, join, select};
use room_runtime::{
    prelude::*,
    testing::{TestPeer, TestRoom, World},
};

/// A room whose events tell it what to do.
#[room(heartbeat("anyone?", "yes"))]
pub mod probe {
    use std::time::Duration;

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub log: Vec<String>,
    }

    pub struct Connection {}

    pub enum Event {
        Say {
            text: String,
        },
        Sleep {
            ms: u64,
        },
        Wait,
        Fail,
        Panic,
        Schedule {
            ms: u64,
            panics: bool,
        },
        /// Sets an alarm for now that sets the next one, and so on for this number of alarms.
        Chain {
            more: u32,
        },
        Repeat {
            ms: u64,
        },
    }

    pub enum Broadcast {
        Said { text: String },
    }

    pub struct Alarm {
        pub panics: bool,
        pub repeats: bool,
        pub more: u32,
    }

    pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        match upgrade.id.as_str() {
            "mallory" => Err(Reject::new(403, "not you")),
            _ => Ok(()),
        }
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { text } => {
                ctx.update(|state| state.log.push(text.clone()))?;
                ctx.broadcast(&Broadcast::Said { text })?;
            }
            Event::Sleep { ms } => ctx.sleep(Duration::from_millis(ms)).await,
            Event::Wait => std::future::pending().await,
            Event::Fail => return Err(Failure::msg("it does not work")),
            Event::Panic => panic!("it broke"),
            Event::Schedule { ms, panics } => {
                ctx.schedule(Alarm { panics, repeats: false, more: 0 }).after(Duration::from_millis(ms))?;
            }
            Event::Chain { more } => {
                ctx.schedule(Alarm { panics: false, repeats: false, more }).after(Duration::ZERO)?;
            }
            Event::Repeat { ms } => {
                ctx.schedule(Alarm { panics: false, repeats: true, more: 0 }).every(Duration::from_millis(ms))?;
            }
        }
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        assert!(!alarm.panics, "the alarm broke");
        let now_ms = ctx.now_ms();
        if !alarm.repeats {
            ctx.update(|state| state.log.push(format!("alarm {now_ms}")))?;
        }
        if alarm.more > 0 {
            ctx.schedule(Alarm { more: alarm.more - 1, ..alarm }).after(Duration::ZERO)?;
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        ctx.update(|state| state.log.push(format!("close {} {}", peer.id(), close.code)))?;
        Ok(())
    }
}

use probe::{Broadcast, Connection, Event, Room};

fn join_room(room: &TestRoom<Room>, id: &str) -> TestPeer<Room> {
    room.connect(Upgrade::new(Connection {}).id(id))
}

fn say(text: &str) -> Event {
    Event::Say { text: text.to_owned() }
}

fn said(text: &str) -> Broadcast {
    Broadcast::Said { text: text.to_owned() }
}

fn log(room: &TestRoom<Room>) -> Vec<String> {
    room.state().expect("a state").map(|state| state.log).unwrap_or_default()
}

/// Returns the message of a panic.
fn message<T>(work: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => String::new(),
        Err(payload) => match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => payload.downcast_ref::<&str>().map(|text| (*text).to_owned()).unwrap_or_default(),
        },
    }
}

/// Yields once to other work, as the `yield_now` of an executor does.
fn yield_now() -> impl Future<Output = ()> {
    let mut is_first = true;
    poll_fn(move |cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

#[test]
fn calls_that_run_at_once_end_together() {
    let world = World::new();
    let (one, two) = (world.room::<Room>("one").handle(), world.room::<Room>("two").handle());
    let begin = world.now_ms();
    let slow = |ms| Event::Sleep { ms };
    let (one, two) = world.block_on(join(one.send(&slow(20)).into_future(), two.send(&slow(30)).into_future()));
    one.and(two).expect("both ended");
    assert_eq!(world.now_ms() - begin, 30);
}

#[test]
fn futures_that_wait_for_each_other_and_wake_themselves_run() {
    let world = World::new();
    let room = world.room::<Room>("main");
    let (sender, receiver) = oneshot::channel();
    let first = async {
        yield_now().await;
        room.handle().send(&say("first")).await.expect("sent");
        sender.send(()).expect("somebody waits");
    };
    // This future is polled before the future that it waits for, which wakes it.
    let second = async {
        receiver.await.expect("somebody sends");
        room.handle().send(&say("second")).await.expect("sent");
    };
    world.block_on(join(second, first));
    assert_eq!(log(&room), ["first", "second"]);
}

#[test]
fn the_first_of_two_ends_a_select() {
    let world = World::new();
    let room = world.room::<Room>("main");
    let (short, long) = (room.handle(), room.handle());
    let (short, long) = (short.send(&Event::Sleep { ms: 1 }), long.send(&Event::Sleep { ms: 60_000 }));
    let begin = world.now_ms();
    let first = world.block_on(select(Box::pin(long.into_future()), Box::pin(short.into_future())));
    assert!(matches!(first, Either::Right((Ok(()), _))));
    assert_eq!(world.now_ms() - begin, 1);
}

#[test]
fn a_deadlock_names_the_work_that_still_waits() {
    let room = TestRoom::<Room>::new("main");
    let message = message(|| room.send(&Event::Wait));
    assert!(message.starts_with("deadlock: "), "{message}");
    assert!(message.contains("room `main`: a call or an upgrade waits"), "{message}");
}

#[test]
fn a_test_that_waits_for_nothing_ends_although_the_watchdog_goes_on() {
    let room = TestRoom::<Room>::new("main");
    let alice = join_room(&room, "alice");
    alice.send(&Event::Wait);
    let message = message(|| room.world().block_on(std::future::pending::<()>()));
    assert!(message.contains("did not come in 100000 moments"), "{message}");
    assert!(message.contains("room `main`: a frame of peer `alice` waits"), "{message}");
}

#[test]
fn a_future_that_only_wakes_itself_is_a_deadlock() {
    let forever = poll_fn(|cx| -> Poll<()> {
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert!(message(|| World::new().block_on(forever)).starts_with("deadlock: "));
}

#[test]
fn advance_to_the_end_of_time_runs_everything_in_order() {
    let room = TestRoom::<Room>::new("main");
    let begin = room.world().now_ms();
    for ms in [86_400_000_000, 5, 86_400_000] {
        room.send(&Event::Schedule { ms, panics: false }).expect("scheduled");
    }
    room.advance(Duration::MAX);
    let at = |ms| format!("alarm {}", begin + ms);
    assert_eq!(log(&room), [at(5), at(86_400_000), at(86_400_000_000)]);
    // The room still works at the end of time.
    room.advance(Duration::MAX);
    room.send(&say("still here")).expect("sent");
    room.assert_no_errors();
}

#[test]
fn advance_fires_what_alarms_schedule_for_the_same_moment() {
    let room = TestRoom::<Room>::new("main");
    for advance in [Duration::ZERO, Duration::from_secs(60)] {
        room.send(&Event::Schedule { ms: 60_000, panics: false }).expect("scheduled");
        room.send(&Event::Chain { more: 2 }).expect("scheduled");
        room.advance(advance);
    }
    let now = room.world().now_ms();
    assert_eq!(log(&room).len(), 8, "{:?} at {now}", log(&room));
    // The alarms fire in the last moment, and again in the same moment.
    for count in [11, 14] {
        room.send(&Event::Chain { more: 2 }).expect("scheduled");
        room.advance(Duration::ZERO);
        assert_eq!((log(&room).len(), room.world().now_ms()), (count, now));
    }
}

#[test]
fn advance_ends_with_a_panic_when_something_repeats_without_an_end() {
    let room = TestRoom::<Room>::new("main");
    room.send(&Event::Repeat { ms: 1000 }).expect("scheduled");
    let message = message(|| room.advance(Duration::MAX));
    assert!(message.starts_with("`advance` stopped after 250000 moments"), "{message}");
    assert!(message.contains("repeats without an end"), "{message}");
}

#[test]
fn events_that_arrive_with_a_panic_reach_the_restarted_room() {
    let room = TestRoom::<Room>::new("main");
    let (alice, bob, carol) = (join_room(&room, "alice"), join_room(&room, "bob"), join_room(&room, "carol"));
    room.world().together(|| {
        alice.send(&Event::Panic);
        bob.send(&say("after the panic"));
        carol.close_with(CloseCode::new(4000).expect("a code of the application"), "bye");
    });
    assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Restarted));
    assert_eq!(bob.received(), [said("after the panic")]);
    assert_eq!(carol.closed(), Some((4000, "bye".to_owned())));
    assert_eq!(log(&room), ["after the panic", "close carol 4000"]);
}

#[test]
fn the_platform_answers_a_heartbeat_that_is_sent_as_a_text() {
    let room = TestRoom::<Room>::new("main");
    let alice = join_room(&room, "alice");
    room.hibernate();
    alice.send_raw("anyone?");
    assert!(!room.is_in_memory());
    assert_eq!(alice.receive_raw().as_deref(), Some("yes"));
    // The answer to a heartbeat is not a message.
    alice.heartbeat();
    assert_eq!(alice.received(), []);
    assert!(!room.is_in_memory());
    // Any other text is a frame.
    alice.send_raw("ping");
    assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Decode));
}

#[test]
fn a_client_of_room_v1_gets_the_answer_to_a_heartbeat_as_it_is() {
    let room = TestRoom::<Room>::new("main");
    let request = http::Request::get("/").header("sec-websocket-protocol", "room.v1").body(()).expect("a request");
    let alice = room.try_connect_with(request, Upgrade::new(Connection {})).expect("a peer");
    alice.send_raw("anyone?");
    alice.send(&say("hello"));
    assert_eq!(alice.received(), [said("hello")]);
    alice.send_raw("anyone?");
    assert_eq!(alice.receive_raw().as_deref(), Some("yes"));
}

#[test]
fn a_panic_leaves_a_line_in_the_log_wherever_it_happens() {
    let room = TestRoom::<Room>::new("main");
    let alice = join_room(&room, "alice");
    alice.send(&Event::Panic);
    let log = room.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].ends_with("room `main`: a frame of peer `alice` panicked: it broke"), "{log:?}");

    room.send(&Event::Schedule { ms: 5, panics: true }).expect("scheduled");
    room.advance(Duration::from_millis(5));
    let log = room.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].ends_with("room `main`: `on_alarm` or spawned work panicked: the alarm broke"), "{log:?}");
}

#[test]
fn assert_no_errors_lists_the_lines_that_were_not_taken() {
    let room = TestRoom::<Room>::new("main");
    room.send(&say("hello")).expect("sent");
    room.assert_no_errors();
    room.world().assert_no_errors();
    room.send(&Event::Fail).expect_err("it fails");
    for message in [message(|| room.assert_no_errors()), message(|| room.world().assert_no_errors())] {
        assert!(message.contains("it does not work"), "{message}");
    }
    room.take_log();
    room.assert_no_errors();
    room.world().assert_no_errors();
}

#[test]
fn a_peer_that_is_refused_shows_the_answer_and_the_log() {
    let room = TestRoom::<Room>::new("main");
    room.send(&Event::Fail).expect_err("it fails");
    let message = message(|| join_room(&room, "mallory"));
    for part in ["403", "not you", "it does not work"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn receive_points_at_receive_error_when_an_error_frame_came() {
    let room = TestRoom::<Room>::new("main");
    let alice = join_room(&room, "alice");
    alice.send_raw("{}");
    let message = message(|| alice.receive());
    assert!(message.contains(r#"{"$room":{"error""#) && message.contains("`receive_error`"), "{message}");
}

/// Runs in its own process, for the next test.
#[test]
fn child_that_fails_on_request() {
    let room = TestRoom::<Room>::new("main");
    room.advance(Duration::from_millis(1500));
    let alice = join_room(&room, "alice");
    alice.send(&Event::Fail);
    room.take_log();
    assert!(env::var_os("ROOM_KIT_FAILS").is_none(), "as it was asked");
}

#[test]
fn a_test_that_fails_prints_the_log_of_its_rooms_and_one_that_succeeds_nothing() {
    let run = |fails: bool| {
        let mut child = Command::new(env::current_exe().expect("this test"));
        child.args(["--exact", "child_that_fails_on_request", "--nocapture"]).env_remove("ROOM_KIT_FAILS");
        if fails {
            child.env("ROOM_KIT_FAILS", "1");
        }
        let output = child.output().expect("an end");
        assert_eq!(output.status.success(), !fails);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let shown = run(true);
    let lines: Vec<_> = shown.lines().filter(|line| line.contains("it does not work")).collect();
    assert_eq!(lines.len(), 1, "{shown}");
    assert!(lines[0].starts_with("  1.5s ") && lines[0].contains("`alice`"), "{shown}");
    assert!(!run(false).contains("it does not work"));
}

#[cfg(feature = "sqlite")]
#[allow(unreachable_pub, reason = "a room is written as in a crate of its own")]
mod storage {
    use super::*;

    /// A room that stores lots in its database, with the name of the house from its services.
    #[room]
    pub mod lots {
        use worker::Env;

        pub struct State {}
        pub struct Connection {}
        pub enum Event {
            Add { name: String },
            Count,
        }
        pub enum Broadcast {
            Count { count: u64 },
        }
        pub struct Services {
            pub house: String,
        }

        pub fn services(_env: &Env) -> Result<Services> {
            Ok(Services { house: "on Cloudflare".to_owned() })
        }

        pub fn init(_ctx: &Ctx) -> Result<State> {
            Ok(State {})
        }

        pub fn on_start(ctx: &Ctx) -> Result {
            ctx.sql().exec("create table if not exists lots (name text, house text)", ())?;
            Ok(())
        }

        pub fn on_event(ctx: &Ctx, event: Event) -> Result {
            match event {
                Event::Add { name } => {
                    ctx.sql().exec("insert into lots values (?, ?)", (name, ctx.services().house.clone()))?;
                }
                Event::Count => {
                    let count = ctx.sql().query_one("select count(*) from lots", ())?.unwrap_or_default();
                    ctx.broadcast(&Broadcast::Count { count })?;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_test_gives_services_and_reads_the_database_of_a_room_that_sleeps() {
        let room =
            TestRoom::<lots::Room>::with_services("main", || Ok(lots::Services { house: "in a test".to_owned() }));
        room.send(&lots::Event::Add { name: "a vase".to_owned() }).expect("added");
        room.hibernate();
        let rows: Vec<(String, String)> = room.query("select name, house from lots", ()).expect("rows");
        assert_eq!(rows, [("a vase".to_owned(), "in a test".to_owned())]);
        assert!(!room.is_in_memory());
        let error = room.query::<u64>("select nothing", ()).expect_err("no such column");
        assert_eq!(error.kind(), ErrorKind::Sql);
    }

    #[test]
    fn a_database_that_cannot_be_written_can_be_read() {
        let room = TestRoom::<lots::Room>::with_services("main", || Ok(lots::Services { house: String::new() }));
        let alice = room.connect(Upgrade::new(lots::Connection {}));
        let add = lots::Event::Add { name: "a vase".to_owned() };
        room.send(&add).expect("added");
        room.fail_writes(true);
        let error = room.send(&add).expect_err("the disk is full");
        assert!(error.to_string().contains("the disk is full"), "{error}");
        alice.send(&lots::Event::Count);
        assert_eq!(alice.received(), [lots::Broadcast::Count { count: 1 }]);
    }
}

/// A room that keeps the places of its peers, and the last messages.
#[room(reconnect_grace = "1m", replay = 4)]
pub mod kept {
    #[derive(Default)]
    pub struct State {
        pub said: u32,
        pub connected: u32,
        pub gaps: Vec<bool>,
    }

    pub struct Connection {}

    pub enum Event {
        Say { text: String },
    }

    #[derive(Debug, PartialEq, Eq)]
    pub enum Broadcast {
        Said { text: String },
    }

    pub fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        ctx.update(|state| state.connected += 1)?;
        Ok(())
    }

    pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.update(|state| state.gaps.push(peer.has_gap()))?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        ctx.update(|state| state.said += 1)?;
        ctx.broadcast(&Broadcast::Said { text })?;
        Ok(())
    }

    #[call]
    pub fn count(ctx: &Ctx, more: u32) -> Result<u32> {
        Ok(ctx.state()?.said + more)
    }
}

fn texts(peer: &TestPeer<kept::Room>) -> Vec<String> {
    peer.received().into_iter().map(|kept::Broadcast::Said { text }| text).collect()
}

#[test]
fn a_peer_that_reconnects_gets_what_it_has_missed() {
    use kept::Calls as _;

    let room = TestRoom::<kept::Room>::new("k");
    let join = |id: &str| room.connect(Upgrade::new(kept::Connection {}).id(id).tag("red"));
    let (ann, bob) = (join("ann"), join("bob"));
    let say = |text: &str| bob.send(&kept::Event::Say { text: text.to_owned() });
    say("one");
    assert_eq!(texts(&ann), ["one"]);
    say("two");
    ann.disconnect();
    say("three");
    // "two" has arrived, though it was not taken.
    let ann_again = ann.reconnect(kept::Connection {});
    assert_eq!((texts(&ann_again), texts(&ann)), (vec!["three".to_owned()], vec!["two".to_owned()]));
    assert_eq!((ann_again.id(), ann_again.tags()), (ann.id(), ann.tags()));
    // The numbers of the session go on.
    assert_eq!(ann_again.count(10).expect("counted"), 13);
    // A connection that is open is lost then. Nothing is missing after hibernation either.
    room.hibernate();
    let ann_again = ann_again.reconnect(kept::Connection {});
    assert_eq!(texts(&ann_again), [""; 0]);
    ann_again.disconnect();
    (0..8).for_each(|n| say(&n.to_string()));
    let ann_again = ann_again.reconnect(kept::Connection {});
    assert_eq!(texts(&ann_again), [""; 0], "a gap");
    let state = room.state().expect("readable").expect("a state");
    assert_eq!((state.connected, state.gaps), (2, vec![false, false, true]));
}

#[test]
fn a_plain_peer_that_reconnects_takes_its_place_again() {
    let room = TestRoom::<kept::Room>::new("k");
    let request = http::Request::get("/").header("sec-websocket-protocol", "room.json").body(()).expect("a request");
    let ann = room.try_connect_with(request, Upgrade::new(kept::Connection {}).id("ann")).expect("admitted");
    assert_eq!(ann.protocol().as_deref(), Some("room.json"));
    let again = ann.reconnect(kept::Connection {});
    assert_eq!(again.protocol().as_deref(), Some("room.json"));
    again.send_raw(r#"{"type":"Say","text":"here"}"#);
    assert_eq!(texts(&again), ["here"]);
    assert_eq!(room.state().expect("readable").expect("a state").connected, 1);
}

#[test]
fn a_call_has_another_number_than_the_frames_that_a_test_writes() {
    use kept::Calls as _;

    let room = TestRoom::<kept::Room>::new("k");
    let ann = room.connect(Upgrade::new(kept::Connection {}));
    ann.send_raw(r#"[1,"count",{"more":100}]"#);
    ann.send_raw(r#"[2,{"type":"Say","text":"hi"}]"#);
    assert_eq!(ann.count(1).expect("counted"), 2);
}

/// The first version of a room that a deploy changes.
#[room]
pub mod draft {
    use std::time::Duration;

    #[derive(Default)]
    pub struct State {
        pub count: u32,
    }
    pub struct Connection {}
    pub enum Event {
        Add { by: u32 },
        Later { by: u32 },
    }
    pub struct Broadcast {}
    pub struct Alarm {
        pub by: u32,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Add { by } => ctx.update(|state| state.count += by)?,
            Event::Later { by } => drop(ctx.schedule(Alarm { by }).after(Duration::from_secs(60))?),
        }
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        ctx.update(|state| state.count += alarm.by)?;
        Ok(())
    }
}

/// Its second version.
#[room]
pub mod final_draft {
    #[derive(Default)]
    pub struct State {
        #[serde(alias = "count")]
        pub total: u32,
    }
    pub struct Connection {}
    pub enum Event {
        Add { by: u32 },
    }
    pub struct Broadcast {}
    pub struct Alarm {
        pub by: u32,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Add { by } = event;
        ctx.update(|state| state.total += 10 * by)?;
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        ctx.update(|state| state.total += 100 * alarm.by)?;
        Ok(())
    }
}

#[test]
fn a_deploy_ends_the_connections_and_continues_with_the_new_code_over_the_old_storage() {
    let old = TestRoom::<draft::Room>::new("r");
    let ann = old.connect(Upgrade::new(draft::Connection {}).id("ann"));
    ann.send(&draft::Event::Add { by: 1 });
    ann.send(&draft::Event::Later { by: 3 });
    let new = old.deploy::<final_draft::Room>();
    assert_eq!(ann.closed().map(|(code, _)| code), Some(1006));
    assert_eq!(new.state().expect("readable").expect("a state").total, 1);
    new.advance(Duration::from_secs(60));
    assert_eq!(new.state().expect("readable").expect("a state").total, 301);
    // An older Worker and an older client, and the new room by its own class.
    old.send(&draft::Event::Add { by: 2 }).expect("handled");
    ann.reconnect(draft::Connection {}).send(&draft::Event::Add { by: 4 });
    new.world().room::<final_draft::Room>("r").send(&final_draft::Event::Add { by: 5 }).expect("handled");
    assert_eq!(new.state().expect("readable").expect("a state").total, 411);
    // The same room, and not a second one.
    let again = new.deploy::<draft::Room>();
    assert_eq!(again.incarnations(), old.incarnations());
    let error = again.state().expect_err("the old code does not know the new name");
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(again.stored_state().as_deref(), Some(r#"{"total":411}"#));
}

#[test]
fn a_deploy_over_another_room_of_the_test_is_a_mistake() {
    let world = World::new();
    let (one, _other) = (world.room::<draft::Room>("r"), world.room::<final_draft::Room>("r"));
    let message = message(|| one.deploy::<final_draft::Room>());
    assert!(message.contains("another room `r` of the class `FinalDraftRoom`"), "{message}");
}

#[test]
fn a_clock_that_is_set_changes_when_alarms_are_due_and_not_how_long_a_handler_sleeps() {
    let room = TestRoom::<Room>::new("r");
    let peer = room.connect(Upgrade::new(Connection {}));
    let begin_ms = room.world().now_ms();
    peer.send(&Event::Schedule { ms: 1_000, panics: false });
    peer.send(&Event::Sleep { ms: 1_000 });
    room.world().step_clock(-5_000);
    assert_eq!(room.world().now_ms(), begin_ms - 5_000);
    room.advance(Duration::from_millis(999));
    assert!(room.is_busy());
    room.advance(Duration::from_millis(1));
    assert!(!room.is_busy());
    room.advance(Duration::from_millis(4_999));
    assert_eq!(log(&room), [""; 0]);
    room.advance(Duration::from_millis(1));
    assert_eq!(log(&room), [format!("alarm {}", begin_ms + 1_000)]);
    peer.send(&Event::Schedule { ms: 60_000, panics: false });
    room.world().step_clock(90_000);
    room.advance(Duration::ZERO);
    assert_eq!(log(&room).len(), 2);
}

#[test]
fn a_clock_that_is_set_too_far_stops_at_the_ends_of_time_and_runs_on_from_there() {
    let room = TestRoom::<Room>::new("r");
    let peer = room.connect(Upgrade::new(Connection {}));
    room.world().step_clock(i64::MIN);
    assert_eq!(room.world().now_ms(), 0);
    peer.send(&Event::Schedule { ms: 60_000, panics: false });
    room.advance(Duration::from_secs(61));
    assert_eq!(room.world().now_ms(), 61_000);
    assert_eq!(log(&room), ["alarm 60000"]);
    room.world().step_clock(i64::MAX);
    assert_eq!(room.world().now_ms(), 8_640_000_000_000_000);
    room.world().step_clock(1_000);
    assert_eq!(room.world().now_ms(), 8_640_000_000_000_000);
    room.world().step_clock(-8_640_000_000_000_000 + 1_000);
    peer.send(&Event::Schedule { ms: 1_000, panics: false });
    room.advance(Duration::from_secs(1));
    assert_eq!(log(&room).len(), 2);
}
