//! Orders of events that once broke a promise. Each test is named after the promise. It sets the body of a handler with
//! [`hook`], by the handler's name, for one peer or for all.

use std::{any::Any, cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use futures_channel::oneshot;

use crate::{
    Close, CloseCode, ErrorKind, Failure, HandlerError, HandlesAlarms, Limits, OnDuplicate, Peer, Replay, Room,
    RoomContext, Upgrade,
    platform::LocalFuture,
    testing::{TestRoom, World},
};

/// The constants: grace, purge delay, whether there is an `on_close`, the most peers.
struct Rig<const GRACE: u64, const PURGE: u64, const CLOSE: bool, const MAX: usize>;

type Plain = Rig<0, 0, true, 1000>;
type Graced = Rig<10_000, 0, true, 1000>;
/// It has a log of two messages.
type Logged = Rig<LOGGED_MS, 0, true, 1000>;

const LOGGED_MS: u64 = 20_000;

type Hook<R> = Rc<dyn Fn(RoomContext<R>, Option<Peer<R>>) -> LocalFuture<Result<(), Failure>>>;

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static GATES: RefCell<Vec<(String, oneshot::Sender<()>)>> = const { RefCell::new(Vec::new()) };
    static HOOKS: RefCell<HashMap<String, Box<dyn Any>>> = RefCell::default();
}

fn note(what: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(what.into()));
}

fn notes() -> Vec<String> {
    NOTES.take()
}

async fn gate(name: &str) {
    let (sender, receiver) = oneshot::channel();
    GATES.with_borrow_mut(|gates| gates.push((name.to_owned(), sender)));
    let _ = receiver.await;
}

fn open_gate<R: Room>(room: &TestRoom<R>, name: &str) {
    let gate = GATES.with_borrow_mut(|gates| {
        let index = gates.iter().position(|(gate, _)| gate == name).expect("someone waits at that gate");
        gates.remove(index).1
    });
    let _ = gate.send(());
    room.advance(Duration::ZERO);
}

fn hook<R: Room>(
    name: &str,
    f: impl Fn(RoomContext<R>, Option<Peer<R>>) -> LocalFuture<Result<(), Failure>> + 'static,
) {
    let hook: Hook<R> = Rc::new(f);
    HOOKS.with_borrow_mut(|hooks| hooks.insert(name.to_owned(), Box::new(hook)));
}

fn unhook(name: &str) {
    HOOKS.with_borrow_mut(|hooks| hooks.remove(name));
}

async fn act<R: Room>(name: &str, ctx: &RoomContext<R>, peer: Option<&Peer<R>>) -> Result<(), Failure> {
    let names = peer.map(|peer| format!("{name} {}", peer.data_name())).into_iter().chain([name.to_owned()]);
    for name in names {
        let hook = HOOKS.with_borrow(|hooks| hooks.get(&name).and_then(|hook| hook.downcast_ref::<Hook<R>>()).cloned());
        if let Some(hook) = hook {
            return hook(ctx.clone(), peer.cloned()).await;
        }
    }
    Ok(())
}

trait Named {
    fn data_name(&self) -> String;
}

impl<R: Room> Named for Peer<R> {
    fn data_name(&self) -> String {
        serde_json::to_value(&*self.data()).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl<const G: u64, const P: u64, const C: bool, const M: usize> HandlesAlarms for Rig<G, P, C, M> {}

impl<const G: u64, const P: u64, const C: bool, const M: usize> Room for Rig<G, P, C, M> {
    const NAME: &'static str = "rig";
    const BINDING: &'static str = "RIG";
    const CLASS: &'static str = if P > 0 { "RigP" } else { "Rig" };
    const RECONNECT_GRACE_MS: u64 = G;
    const PURGE_AFTER_MS: u64 = P;
    const HAS_ON_CLOSE: bool = C;
    const HAS_ON_JOIN: bool = false;
    const HAS_ON_LEAVE: bool = false;
    const LIMITS: Limits = Limits::DEFAULT.max_peers(M);
    const REPLAY: Replay = if G == LOGGED_MS { Replay::new(2) } else { Replay::NONE };
    type State = u64;
    /// The name of the connection.
    type Connection = String;
    /// The name of the hook.
    type Event = String;
    type Broadcast = String;
    type Alarm = String;
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<u64, Failure> {
        Ok(0)
    }
    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }
    async fn on_start(ctx: &RoomContext<Self>) -> Result<(), Failure> {
        note("start");
        act("on_start", ctx, None).await
    }
    async fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("connect {}", peer.data()));
        act("on_connect", ctx, Some(peer)).await
    }
    async fn on_resume(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("resume {}", peer.data()));
        act("on_resume", ctx, Some(peer)).await
    }
    async fn on_away(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("away {}", peer.data()));
        act("on_away", ctx, Some(peer)).await
    }
    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, close: Close) -> Result<(), Failure> {
        note(format!("close {} {}{}", peer.data(), close.code, if close.is_lost() { " lost" } else { "" }));
        act("on_close", ctx, Some(peer)).await
    }
    async fn on_event(ctx: &RoomContext<Self>, event: String) -> Result<(), Failure> {
        note(format!("event {event}"));
        act(&event, ctx, ctx.sender()).await
    }
    async fn on_alarm(ctx: &RoomContext<Self>, alarm: String) -> Result<(), Failure> {
        note(format!("alarm {alarm}{}", if ctx.system_failure().is_some() { " after a crash" } else { "" }));
        act(&format!("alarm {alarm}"), ctx, None).await
    }
    async fn on_error(_ctx: &RoomContext<Self>, error: &HandlerError) -> Result<(), Failure> {
        note(format!("error {error}"));
        Ok(())
    }
}

fn as_(name: &str) -> Upgrade<String> {
    Upgrade::new(name.to_owned()).id(name)
}

fn ev(name: &str) -> String {
    name.to_owned()
}

fn kick_everyone<R: Room>(but: &'static str) {
    hook::<R>("kick", move |ctx, _| {
        Box::pin(async move {
            ctx.peers().filter(|peer| peer.data_name() != but).close(CloseCode::POLICY, "out")?;
            Ok(())
        })
    });
}

#[test]
fn the_answer_to_a_kick_comes_while_on_start_waits() {
    let room = TestRoom::<Plain>::new("r");
    kick_everyone::<Plain>("ben");
    let (ann, _ben) = (room.connect(as_("ann")), room.connect(as_("ben")));
    ann.stop_responding();
    room.send(&ev("kick")).expect("kicked");
    room.hibernate();
    notes();
    hook::<Plain>("on_start", |_, _| {
        Box::pin(async {
            gate("start").await;
            Ok(())
        })
    });
    _ben.send(&ev("wake"));
    ann.disconnect();
    open_gate(&room, "start");
    assert_eq!(notes(), ["start", "event wake", "close ann 1008"]);
}

#[test]
fn the_answer_to_a_kick_comes_while_another_on_close_waits() {
    let room = TestRoom::<Plain>::new("r");
    kick_everyone::<Plain>("ben");
    let (a, b, ben) = (room.connect(as_("a")), room.connect(as_("b")), room.connect(as_("ben")));
    a.stop_responding();
    b.stop_responding();
    room.send(&ev("kick")).expect("kicked");
    room.hibernate();
    notes();
    hook::<Plain>("on_close", |_, _| {
        Box::pin(async {
            gate("close").await;
            Ok(())
        })
    });
    ben.send(&ev("wake"));
    a.disconnect();
    b.disconnect();
    unhook("on_close");
    open_gate(&room, "close");
    let mut closes: Vec<_> = notes().into_iter().filter(|note| note.starts_with("close")).collect();
    closes.sort();
    assert_eq!(closes, ["close a 1008", "close b 1008"]);
}

#[test]
fn a_room_that_purges_itself_as_it_starts_is_gone() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("on_start", |ctx, _| {
        Box::pin(async move {
            if !ctx.is_initialized()? {
                return ctx.purge();
            }
            Ok(())
        })
    });
    let _ = room.state();
    notes();
    room.advance(Duration::from_secs(3_600));
    assert_eq!(notes().len(), 0, "starts in an hour in which nobody visits");
}

#[test]
fn an_option_purge_after_that_was_taken_away_purges_nothing() {
    type Before = Rig<0, 60_000, true, 1000>;
    let world = World::new();
    let (before, after) = (world.room::<Before>("r"), world.room::<Plain>("r"));
    hook::<Before>("add", |ctx, _| {
        Box::pin(async move {
            ctx.update(|n| *n = 7)?;
            Ok(())
        })
    });
    let ann = before.connect(as_("ann"));
    ann.send(&ev("add"));
    ann.close();
    before.hibernate();
    // A deploy: the same storage with other code.
    for key in before.object.memory.keys("") {
        after.object.memory.store(&key, &before.object.memory.stored(&key).expect("there"));
    }
    before.object.memory.alarm.set(None);
    after.object.memory.alarm.set(Some(world.now_ms() + 60_000));
    // Another peer joins under the new code.
    let ben = after.connect(as_("ben"));
    ben.close();
    assert_eq!(after.state().expect("state"), Some(7));
    after.advance(Duration::from_secs(120));
    assert_eq!(after.state().expect("state"), Some(7));
}

#[test]
fn a_frame_from_before_the_purge_starts_no_new_life() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("wait", |_, _| {
        Box::pin(async {
            gate("wait").await;
            Ok(())
        })
    });
    hook::<Plain>("purge", |ctx, _| Box::pin(async move { ctx.purge() }));
    hook::<Plain>("on_start", |ctx, _| {
        Box::pin(async move {
            ctx.schedule("tick".to_owned()).every(Duration::from_secs(60))?;
            Ok(())
        })
    });
    let ann = room.connect(as_("ann"));
    ann.send(&ev("wait"));
    ann.send(&ev("more"));
    notes();
    room.send(&ev("purge")).expect("purged");
    assert_eq!(notes(), ["event purge"]);
    room.advance(Duration::from_secs(600));
    assert_eq!(notes().len(), 0, "wakes of a room that was purged and that nobody visited");
    assert_eq!(room.object.memory.keys(""), Vec::<String>::new());
}

#[test]
fn a_replaced_peer_takes_no_place_from_the_one_that_replaced_it() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("on_connect first", |_, _| {
        Box::pin(async {
            gate("connect").await;
            Ok(())
        })
    });
    let up = |name: &str| Upgrade::new(name.to_owned()).id("ann").on_duplicate(OnDuplicate::Replace);
    let world = room.world().clone();
    let first = room.begin_connect(up("first"));
    let second = room.connect(up("second"));
    world.advance(Duration::ZERO);
    let token = second.resume_token().expect("token");
    second.disconnect();
    open_gate(&room, "connect");
    let _first = world.block_on(first).expect("in");
    let log = notes();
    let back = room.connect(up("back").resume(&token));
    let told = back.resume_token();
    assert_eq!(told.as_deref(), Some(&*token), "after {log:?} then {:?}", notes());
}

#[test]
fn with_reject_an_id_has_one_connection_also_after_a_resume() {
    let room = TestRoom::<Graced>::new("r");
    let up = |name: &str| Upgrade::new(name.to_owned()).id("ann").on_duplicate(OnDuplicate::Reject);
    let first = room.connect(up("first"));
    let token = first.resume_token().expect("token");
    first.disconnect();
    let _second = room.try_connect(up("second"));
    let _back = room.try_connect(up("back").resume(&token));
    assert_eq!(room.peers(None).expect("peers").len(), 1, "{:?}", notes());
}

#[test]
fn presence_lists_a_peer_that_lost_its_connection_while_its_handler_waits() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("wait", |_, _| {
        Box::pin(async {
            gate("wait").await;
            Ok(())
        })
    });
    let ann = room.connect(as_("ann"));
    let _ben = room.connect(as_("ben"));
    ann.send(&ev("wait"));
    ann.disconnect();
    let who = |room: &TestRoom<Graced>| {
        room.object
            .host()
            .presence()
            .expect("presence")
            .into_iter()
            .map(|u| format!("{} {} {:?}", u.id, u.peers.len(), u.away_since.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(who(&room), ["ann 0 true", "ben 1 false"]);
}

#[test]
fn presence_lists_all_peers_that_were_lost_in_a_restart() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("on_away", |ctx, _| {
        Box::pin(async move {
            note(format!("presence {:?}", ctx.presence()?.into_iter().map(|u| u.id.to_string()).collect::<Vec<_>>()));
            Ok(())
        })
    });
    let _ann = room.connect(as_("ann"));
    let _ben = room.connect(as_("ben"));
    room.restart();
    notes();
    let _ = room.state();
    let log = notes();
    assert!(
        log.iter().filter(|n| n.starts_with("presence")).all(|n| n.contains("ann") && n.contains("ben")),
        "{log:?}"
    );
}

#[test]
fn the_tags_of_a_peer_that_has_gone_can_be_asked_for() {
    type Open = Rig<0, 0, false, 1000>;
    let room = TestRoom::<Open>::new("r");
    hook::<Open>("look", |ctx, _| {
        Box::pin(async move {
            let ann = ctx.peers().with_id("ann").iter().next().expect("ann");
            gate("look").await;
            note(format!("tags {:?}", ann.tags()));
            Ok(())
        })
    });
    let ann = room.connect(as_("ann").tag("x"));
    let ben = room.connect(as_("ben"));
    room.hibernate();
    ben.send(&ev("look"));
    ann.disconnect();
    notes();
    open_gate(&room, "look");
    assert_eq!(notes(), ["tags [\"x\"]"], "log {:?}", room.take_log());
}

#[test]
fn an_alarm_that_times_out_leaves_nothing_in_memory() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("set", |ctx, _| {
        Box::pin(async move {
            ctx.schedule("hang".to_owned()).after(Duration::from_secs(1))?;
            Ok(())
        })
    });
    hook::<Plain>("alarm hang", |_, _| {
        Box::pin(async {
            gate("never").await;
            Ok(())
        })
    });
    room.send(&ev("set")).expect("set");
    for _ in 0..5 {
        room.advance(Duration::from_secs(3_600));
    }
    let host = room.object.host();
    let fired = notes().iter().filter(|n| n.starts_with("alarm")).count();
    assert!(host.waiting.borrow().len() <= 1, "{} handlers wait after {fired} timeouts", host.waiting.borrow().len());
}

#[test]
fn a_failure_that_cannot_be_stored_is_no_system_failure() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("set", |ctx, _| {
        Box::pin(async move {
            ctx.schedule("x".to_owned()).after(Duration::from_secs(1))?;
            Ok(())
        })
    });
    hook::<Plain>("alarm x", |_, _| {
        Box::pin(async {
            gate("alarm").await;
            Err(Failure::msg("as told"))
        })
    });
    let ann = room.connect(as_("ann"));
    room.send(&ev("set")).expect("set");
    room.advance(Duration::from_millis(1_500));
    room.fail_writes(true);
    open_gate(&room, "alarm");
    room.fail_writes(false);
    unhook("alarm x");
    // The last peer leaves, so the caches are dropped although the object stays in memory.
    ann.close();
    room.advance(Duration::from_secs(3_600));
    let log = notes();
    assert_eq!(room.incarnations(), 1);
    assert!(!log.iter().any(|n| n.contains("after a crash")), "{log:?}");
}

#[test]
fn on_close_may_call_a_room_that_calls_back_also_after_a_restart() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("on_close", |ctx, _| {
        Box::pin(async move {
            let n = ctx.room::<Plain>("r")?.peers(None).await?.len();
            note(format!("{n} are left"));
            Ok(())
        })
    });
    let ann = room.connect(as_("ann"));
    let _ben = room.connect(as_("ben"));
    ann.close();
    assert!(notes().contains(&"1 are left".to_owned()));
    room.restart();
    room.advance(Duration::from_secs(3_600));
    let log = notes();
    assert!(log.contains(&"0 are left".to_owned()), "an hour after the restart: {log:?}, busy: {}", room.is_busy());
}

#[test]
fn on_resume_has_begun_when_an_idle_peer_that_returned_is_in() {
    let room = TestRoom::<Graced>::new("r");
    let ann = room.connect(as_("ann"));
    let token = ann.resume_token().expect("token");
    ann.disconnect();
    notes();
    let back = room.world().block_on(room.begin_connect(as_("ann").resume(&token))).expect("in");
    room.crash();
    room.advance(Duration::from_secs(3_600));
    assert!(back.is_open());
    let log = notes();
    assert!(log.contains(&"resume ann".to_owned()), "open: {}, {log:?}", back.is_open());
}

#[test]
fn a_handler_may_sleep_for_ever() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("sleep", |ctx, _| {
        Box::pin(async move {
            ctx.sleep(Duration::MAX).await;
            Ok(())
        })
    });
    let ann = room.connect(as_("ann"));
    ann.send(&ev("sleep"));
    assert!(room.is_busy(), "log {:?}", room.take_log());
}

#[test]
fn a_period_that_cancels_and_sets_itself_keeps_firing() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("set", |ctx, _| {
        Box::pin(async move {
            ctx.schedule("x".to_owned()).key("k").every(Duration::from_secs(10))?;
            Ok(())
        })
    });
    hook::<Plain>("alarm x", |ctx, _| {
        Box::pin(async move {
            ctx.cancel_keyed("k")?;
            ctx.schedule("x".to_owned()).key("k").every(Duration::from_secs(10))?;
            Ok(())
        })
    });
    room.send(&ev("set")).expect("set");
    room.advance(Duration::from_secs(100));
    assert_eq!(notes().iter().filter(|n| *n == "alarm x").count(), 10);
}

#[test]
fn after_a_purge_an_alarm_stands_while_there_are_peers() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("purge", |ctx, _| Box::pin(async move { ctx.purge() }));
    let ann = room.connect(as_("ann"));
    ann.stop_responding();
    room.send(&ev("purge")).expect("purged");
    let _ben = room.connect(as_("ben"));
    let alarm = room.object.memory.alarm.get();
    room.restart();
    notes();
    room.advance(Duration::from_secs(86_400));
    let log = notes();
    assert!(
        log.contains(&"close ben 1006 lost".to_owned()),
        "alarm while ben was there: {alarm:?}; a day after the restart: {log:?}"
    );
}

#[test]
fn an_alarm_stands_when_a_late_frame_starts_the_life_after_a_purge() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("purge", |ctx, _| Box::pin(async move { ctx.purge() }));
    let ann = room.connect(as_("ann"));
    room.world().together(|| {
        ann.send(&ev("purge"));
        ann.send(&ev("more"));
    });
    let _ben = room.connect(as_("ben"));
    let alarm = room.object.memory.alarm.get();
    room.restart();
    let before = notes();
    room.advance(Duration::from_secs(86_400));
    let log = notes();
    assert!(
        log.contains(&"close ben 1006 lost".to_owned()),
        "{before:?}, alarm while ben was there: {alarm:?}; a day after the restart: {log:?}"
    );
}

#[test]
fn an_alarm_stands_after_reads_that_failed() {
    let room = TestRoom::<Plain>::new("r");
    let memory = room.object.memory.clone();
    hook::<Plain>("on_connect ann", move |_, _| {
        memory.reads_fail.set(true);
        Box::pin(async { Ok(()) })
    });
    let ann = room.connect(as_("ann"));
    room.fail_reads(false);
    assert!(ann.is_open());
    let _ben = room.connect(as_("ben"));
    assert!(room.object.memory.alarm.get().is_some(), "two peers, no alarm; {:?}", room.take_log());
}

#[test]
fn one_that_on_connect_turned_away_with_a_code_replaces_nobody() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("on_connect stranger", |_, peer| {
        Box::pin(async move {
            peer.expect("peer").close(CloseCode::new(4401)?, "sign in")?;
            Ok(())
        })
    });
    let up = |name: &str| Upgrade::new(name.to_owned()).id("ann").on_duplicate(OnDuplicate::Replace);
    let ann = room.connect(up("ann"));
    let stranger = room.connect(up("stranger"));
    assert_eq!(stranger.closed(), Some((4401, "sign in".to_owned())));
    assert!(ann.is_open(), "{:?} {:?}", ann.closed(), notes());
}

#[test]
fn code_without_a_version_refuses_a_state_of_a_version() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("add", |ctx, _| {
        Box::pin(async move {
            ctx.update(|n| *n += 1)?;
            Ok(())
        })
    });
    room.object.memory.store("room:state_version", b"2");
    room.store_state("7");
    let read = room.state().map_err(|error| error.kind());
    let _ = room.send(&ev("add"));
    let version = String::from_utf8(room.object.memory.stored("room:state_version").expect("there")).expect("text");
    assert_eq!(
        read,
        Err(ErrorKind::Decode),
        "and then it was overwritten: {:?}, still as version {version}",
        room.stored_state()
    );
}

#[test]
fn a_stored_schedule_that_no_room_wrote_stops_no_other() {
    let room = TestRoom::<Plain>::new("r");
    for (key, id, number, period, name) in [
        (1, 1, u64::MAX, "", "without a next number"),
        (2, 2, 1, r#","every_ms":0"#, "without a period"),
        (3, 3, 2, "", "one of two with an id"),
        (4, 3, 3, "", "another with it"),
        (5, 5, 4, "", "good"),
    ] {
        let value = format!(
            r#"{{"id":"{id:016x}","number":{number},"due_ms":{number},"nominal_ms":1{period},"what":{{"alarm":"{name}"}}}}"#
        );
        room.object.memory.store(&format!("room:schedule:{key:016x}"), value.as_bytes());
    }
    let fired = [(); 3].map(|()| room.fire_alarm().expect("no storage fails"));
    assert_eq!(fired, [true, true, false]);
    room.advance(Duration::from_secs(1));
    assert_eq!(notes(), ["start", "alarm another with it", "alarm good"]);
    let log = room.take_log();
    assert!(log.len() == 2 && log.iter().all(|line| line.contains("it stays in storage")), "{log:?}");
}

#[test]
fn a_stored_session_with_a_number_that_no_room_counts_to_is_not_known() {
    let room = TestRoom::<Plain>::new("r");
    let request = http::Request::builder().header("sec-websocket-protocol", "room.v1").body(()).expect("a request");
    let ann = room.try_connect_with(request, as_("ann")).expect("she is let in");
    ann.send_raw(r#"[1,"nothing"]"#);
    let key = format!("room:session:{}", ann.resume_token().expect("a session"));
    let row = String::from_utf8(room.object.memory.stored(&key).expect("a row")).expect("text");
    room.object.memory.store(&key, row.replacen(" 1 ", &format!(" {} ", u64::MAX), 1).as_bytes());
    room.hibernate();
    let again = ann.reconnect("ann".to_owned());
    let welcome = again.receive_raw().expect("a welcome");
    assert!(welcome.contains(r#""resumed":false,"last":0"#), "{welcome}");
    again.send_raw(r#"[1,"nothing"]"#);
    assert_eq!(again.receive_raw().as_deref(), Some(r#"[[{"ack":1}]]"#));
    assert!(room.take_log().iter().all(|line| line.contains("a stored session is not readable")));
}

#[test]
fn an_entry_of_the_log_that_is_not_readable_is_a_gap_and_its_position_is_given_to_no_other() {
    let room = TestRoom::<Logged>::new("r");
    let request = http::Request::builder().header("sec-websocket-protocol", "room.v1").body(()).expect("a request");
    let ann = room.try_connect_with(request, as_("ann")).expect("she is let in");
    let last = || room.object.memory.keys("room:log:").pop().expect("an entry");
    let say = |text: &str| room.broadcast(&text.to_owned()).map(drop).expect("it is logged");
    say("one");
    assert_eq!(ann.received(), ["one"]);
    ann.disconnect();
    say("two");
    let lost = last();
    room.object.memory.store(&lost, b"not an entry");
    room.hibernate();
    let ann = ann.reconnect("ann".to_owned());
    assert!(ann.receive_raw().expect("a welcome").contains(r#""gap":true"#));
    // The log goes on behind that entry, and is as short as ever.
    for text in ["three", "four", "five", "six"] {
        say(text);
        room.hibernate();
    }
    assert!(last() > lost && room.object.memory.stored(&lost).as_deref() == Some(b"not an entry"));
    assert_eq!(room.object.memory.keys("room:log:").len(), 3);
    assert_eq!(ann.received(), ["three", "four", "five", "six"]);
    ann.disconnect();
    say("seven");
    assert_eq!(ann.reconnect("ann".to_owned()).received(), ["seven"]);
}

#[test]
fn a_room_whose_only_peer_was_kicked_is_not_woken_by_the_watchdog() {
    let room = TestRoom::<Plain>::new("r");
    kick_everyone::<Plain>("");
    let ann = room.connect(as_("ann"));
    ann.stop_responding();
    room.send(&ev("kick")).expect("kicked");
    let mut wakes = 0;
    for _ in 0..1440 {
        room.hibernate();
        let before = room.incarnations();
        room.advance(Duration::from_secs(60));
        wakes += room.incarnations() - before;
    }
    assert!(
        wakes <= 2,
        "{wakes} wakes in a day, peers: {:?}, {:?}",
        room.peers(None).expect("peers").len(),
        notes().iter().filter(|n| n.starts_with("close")).count()
    );
}

#[test]
fn a_crash_right_after_a_replacement_loses_no_on_close() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("on_connect second", |ctx, _| {
        Box::pin(async move {
            ctx.spawn(async |_| panic!("as told"));
            Ok(())
        })
    });
    let up = |name: &str| Upgrade::new(name.to_owned()).id("ann").on_duplicate(OnDuplicate::Replace);
    let first = room.connect(up("first"));
    first.stop_responding();
    let second = room.connect(up("second"));
    for _ in 0..3 {
        room.advance(Duration::from_secs(3_600));
        room.hibernate();
        second.send(&ev("hello"));
    }
    let log = notes();
    let entries = room.object.memory.keys("room:peer:").len();
    assert!(
        log.iter().any(|n| n.starts_with("close first")),
        "open: {} {}, {entries} entries, {log:?}",
        first.is_open(),
        second.is_open()
    );
}

#[test]
fn a_hung_on_close_of_a_lost_peer_keeps_nobody_out() {
    let room = TestRoom::<Plain>::new("r");
    let _ann = room.connect(as_("ann"));
    room.restart();
    hook::<Plain>("on_close ann", |ctx, _| {
        Box::pin(async move {
            ctx.sleep(Duration::from_secs(7_200)).await;
            Ok(())
        })
    });
    let before = room.world().now_ms();
    let _ben = room.connect(as_("ben"));
    let waited = room.world().now_ms() - before;
    assert!(waited < 1_000, "ben waited {waited} ms for the on_close of ann");
}

#[test]
fn closing_a_peer_whose_connection_is_lost_leaves_its_place() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("wait", |_, peer| {
        Box::pin(async move {
            gate("wait").await;
            note(format!("{:?}", peer.expect("peer").close(CloseCode::NORMAL, "bye").map_err(|e| e.kind())));
            Ok(())
        })
    });
    let ann = room.connect(as_("ann"));
    let token = ann.resume_token().expect("token");
    ann.send(&ev("wait"));
    ann.disconnect();
    open_gate(&room, "wait");
    let back = room.connect(as_("back").id("ann").resume(&token));
    assert_eq!(back.resume_token(), Some(token), "{:?}", notes());
}

#[test]
fn an_alarm_stands_when_a_queued_frame_starts_the_life_after_a_purge() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("wait", |_, _| {
        Box::pin(async {
            gate("wait").await;
            Ok(())
        })
    });
    hook::<Plain>("purge", |ctx, _| Box::pin(async move { ctx.purge() }));
    let ann = room.connect(as_("ann"));
    ann.send(&ev("wait"));
    ann.send(&ev("more"));
    room.send(&ev("purge")).expect("purged");
    let _ben = room.connect(as_("ben"));
    let alarm = room.object.memory.alarm.get();
    room.restart();
    let before = notes();
    room.advance(Duration::from_secs(86_400));
    let log = notes();
    assert!(
        log.contains(&"close ben 1006 lost".to_owned()),
        "{before:?}, alarm while ben was there: {alarm:?}; a day after the restart: {log:?}"
    );
}

#[test]
fn a_room_that_starts_slowly_lets_peers_in() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("on_start", |ctx, _| {
        Box::pin(async move {
            ctx.sleep(Duration::from_secs(6)).await;
            Ok(())
        })
    });
    let ann = room.try_connect(as_("ann"));
    assert!(ann.is_ok(), "{}", ann.expect_err("refused"));
}

#[test]
fn one_token_that_comes_twice_into_a_full_room_is_one_peer() {
    type Two = Rig<10_000, 0, true, 2>;
    let room = TestRoom::<Two>::new("r");
    let a = room.connect(as_("a"));
    let b = room.connect(as_("b"));
    let token = a.resume_token().expect("token");
    a.disconnect();
    assert_eq!(room.try_connect(as_("c")).expect_err("full").status(), Some(503));
    let a1 = room.connect(as_("a").resume(&token));
    let a2 = room.connect(as_("a").resume(&token));
    assert!(!a1.is_open() && a2.is_open() && b.is_open());
    assert_eq!(room.try_connect(as_("c")).expect_err("full").status(), Some(503));
}

#[test]
fn an_alarm_fires_while_the_on_close_of_a_lost_peer_waits() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("set", |ctx, _| {
        Box::pin(async move {
            ctx.schedule("x".to_owned()).after(Duration::from_secs(5))?;
            Ok(())
        })
    });
    hook::<Plain>("on_close", |ctx, _| {
        Box::pin(async move {
            ctx.sleep(Duration::from_secs(60)).await;
            Ok(())
        })
    });
    let _ann = room.connect(as_("ann"));
    room.send(&ev("set")).expect("set");
    room.restart();
    notes();
    room.advance(Duration::from_secs(30));
    let log = notes();
    assert!(log.contains(&"alarm x".to_owned()), "{log:?}");
}

#[test]
fn on_away_may_ask_its_own_room_after_a_restart() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("on_away", |ctx, _| {
        Box::pin(async move {
            ctx.room::<Graced>("r")?.peers(None).await?;
            Ok(())
        })
    });
    let _ann = room.connect(as_("ann"));
    room.restart();
    room.advance(Duration::from_secs(3_600));
    let log = notes();
    assert!(
        log.contains(&"close ann 1006 lost".to_owned()) && !room.is_busy(),
        "an hour later: {log:?}, busy {}",
        room.is_busy()
    );
}

#[test]
fn refused_peers_that_do_not_answer_take_no_memory() {
    type One = Rig<0, 0, true, 1>;
    let room = TestRoom::<One>::new("r");
    hook::<One>("on_connect", |_, _| {
        Box::pin(async {
            gate("auth").await;
            Err(Failure::msg("no"))
        })
    });
    for n in 0..50 {
        let world = room.world().clone();
        let connecting = room.begin_connect(as_(&format!("p{n}")));
        let mut connecting = Box::pin(connecting);
        let _ = futures_util::future::FutureExt::now_or_never(&mut connecting);
        world.advance(Duration::ZERO);
        for socket in 0..=n {
            room.object.memory.with_socket(socket, |s| s.unresponsive = true);
        }
        open_gate(&room, "auth");
        let peer = world.block_on(connecting).expect("a socket");
        assert!(!peer.is_open());
    }
    assert!(
        room.object.host().known_sockets.get() <= 1,
        "{} slots of refused peers in memory, max_peers is 1",
        room.object.host().known_sockets.get()
    );
}

#[test]
fn a_panic_after_a_slow_consumer_was_closed_loses_no_on_close() {
    let room = TestRoom::<Plain>::new("r");
    hook::<Plain>("big", |ctx, _| {
        Box::pin(async move {
            let delivery = ctx.peers().except_sender().send(&"x".repeat(20_000_000))?;
            if !delivery.unread.is_empty() {
                panic!("as told");
            }
            Ok(())
        })
    });
    let (ann, ben) = (room.connect(as_("ann")), room.connect(as_("ben")));
    ann.stop_responding();
    ben.send(&ev("big"));
    ben.send(&ev("big"));
    for _ in 0..12 {
        room.advance(Duration::from_secs(600));
        if !room.is_busy() {
            room.hibernate();
        }
    }
    let log = notes();
    assert!(
        log.iter().any(|n| n.starts_with("close ann")),
        "ann open: {}, closed with {:?}; two hours later: {log:?}",
        ann.is_open(),
        ann.closed()
    );
}

#[test]
fn a_peer_that_on_away_closes_does_not_come_back() {
    let room = TestRoom::<Graced>::new("r");
    hook::<Graced>("on_away", |_, peer| {
        Box::pin(async move { Ok(peer.expect("it is away").close(CloseCode::POLICY, "out")?) })
    });
    let ann = room.connect(as_("ann"));
    let token = ann.resume_token().expect("a token");
    ann.disconnect();
    assert_eq!(notes(), ["start", "connect ann", "away ann", "close ann 1006"]);
    let back = room.connect(as_("ann").resume(&token));
    assert_ne!(back.resume_token(), Some(token));
}
