//! The engine's rules, over the memory platform. The rooms here implement [`Room`] by hand: the engine needs no macro.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures_channel::oneshot;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    CloseCode, Delivery, HandlesAlarms, OnDuplicate, OnResume, Peer, PeerId, Peers, Room, RoomContext,
    api::typed::room_type,
    engine::{schedules::Job, start::RESTART_MS, upgrade::Accept},
    platform::memory::{
        Memory, MemorySocket, START_MS,
        executor::{Clock, Executor, Random, Work},
        no_other_rooms,
    },
    wire::{UpgradeOptions, handshake::Handshake},
};

const MAX_DATA_BYTES: usize = Peer::<Probe>::MAX_DATA_BYTES;

/// A room that records its handlers and follows the test's events.
enum Probe {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    count: i64,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Data {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    Add {
        amount: i64,
    },
    Say {
        text: String,
    },
    /// Waits until the test opens the gate of this name, then broadcasts it.
    Wait {
        gate: String,
    },
    Rename {
        name: String,
    },
    Fail,
    AddAndFail,
    AddAndRefuse {
        amount: i64,
    },
    TryAddAndFail,
    Nested,
    Grow {
        bytes: usize,
    },
    Kick {
        id: String,
    },
    Select,
    Snapshot,
    Schedule {
        name: String,
        after_ms: u64,
    },
    Repeat {
        name: String,
        every_ms: u64,
    },
}

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static GATES: RefCell<Vec<(String, oneshot::Sender<()>)>> = const { RefCell::new(Vec::new()) };
}

fn note(what: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(what.into()));
}

fn take_notes() -> Vec<String> {
    NOTES.take()
}

async fn gate(name: &str) {
    let (sender, receiver) = oneshot::channel();
    GATES.with_borrow_mut(|gates| gates.push((name.to_owned(), sender)));
    let _ = receiver.await;
}

fn open_gate(name: &str) {
    let gate = GATES.with_borrow_mut(|gates| {
        let index = gates.iter().position(|(gate, _)| gate == name).expect("someone waits at that gate");
        gates.remove(index).1
    });
    gate.send(()).expect("still waiting");
}

impl HandlesAlarms for Probe {}

impl Room for Probe {
    const NAME: &'static str = "probe";
    const BINDING: &'static str = "PROBE";
    const CLASS: &'static str = "ProbeRoom";
    const LIMITS: crate::Limits = crate::Limits::DEFAULT.max_message_bytes(4_000_000);
    type State = State;
    type Connection = Data;
    type Event = Event;
    type Broadcast = String;
    type Alarm = String;
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<State, Failure> {
        Ok(State { count: 100, text: String::new() })
    }

    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }

    async fn on_start(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
        note("start");
        if GATES.with_borrow(|gates| gates.iter().any(|(name, _)| name == "starting-slowly")) {
            gate("start").await;
        }
        Ok(())
    }

    async fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("connect {}", peer.id()));
        match &*peer.data().name {
            "refused" => return Err(Failure::msg("not this one")),
            "slow" => gate("connect").await,
            "renamed" => peer.set_data(Data { name: "new name".to_owned() })?,
            _ => {}
        }
        ctx.peers().except(peer).send(&format!("joined {}", peer.id()))?;
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        match event {
            Event::Add { amount } => {
                let count = ctx.update(|state| {
                    state.count += amount;
                    state.count
                })?;
                ctx.broadcast(&format!("count {count}"))?;
            }
            Event::Say { text } => {
                let Delivery { sent, failed, .. } = ctx.broadcast(&text)?;
                note(format!("said to {sent}, failed {failed:?}"));
            }
            Event::Wait { gate: name } => {
                ctx.update(|state| state.text.push_str(&name))?;
                gate(&name).await;
                ctx.broadcast(&name)?;
            }
            Event::Rename { name } => {
                ctx.sender().expect("a peer sent it").set_data(Data { name })?;
            }
            Event::Fail => return Err(Failure::msg("as told")),
            Event::AddAndRefuse { amount } => {
                ctx.update(|state| state.count += amount)?;
                return Err(ctx.refuse("enough"));
            }
            Event::AddAndFail => {
                ctx.update(|state| state.count += 1)?;
                "x".parse::<u32>()?;
            }
            Event::TryAddAndFail => ctx.try_update(|state| {
                state.count += 1;
                Err(Failure::msg("changed its mind"))
            })?,
            Event::Nested => ctx.update(|state| {
                state.count += 1;
                note(format!("{:?}", ctx.state().map_err(|error| error.kind())));
                note(format!("{:?}", ctx.update(|_| ()).map_err(|error| error.kind())));
            })?,
            Event::Grow { bytes } => ctx.update(|state| state.text = "x".repeat(bytes))?,
            Event::Kick { id } => {
                ctx.peers().with_id(&id).close(CloseCode::POLICY, "out")?;
                note(format!("{} peers left", ctx.peers().len()));
            }
            Event::Select => {
                let names = |peers: Peers<'_, Self>| {
                    let mut names: Vec<_> = peers.iter().map(|peer| peer.id().to_string()).collect();
                    names.sort();
                    assert_eq!((names.len(), names.is_empty()), (peers.len(), peers.is_empty()));
                    assert_eq!(names.len(), (&peers).into_iter().count());
                    assert_eq!(names.len(), peers.into_iter().count());
                    names.join("")
                };
                let sender = ctx.sender().expect("a peer sent it");
                let b: Vec<_> = ctx.peers().with_id("b").iter().collect();
                note(names(ctx.peers()));
                note(names(ctx.peers().tagged("x")));
                note(names(ctx.peers().tagged("x").tagged("y")));
                note(names(ctx.peers().tagged_any(["x", "y"])));
                note(names(ctx.peers().tagged("x").except_sender()));
                note(names(ctx.peers().only(&b)));
                note(names(ctx.peers().only(&b).except(&b[0])));
                note(names(ctx.peers().only([sender]).only(&b)));
                note(names(ctx.peers().filter(|peer| peer.data().name.starts_with('c'))));
                note(names(ctx.peers().tagged("nobody")));
                ctx.peers().tagged("x").except_sender().send(&"to x".to_owned())?;
                ctx.peers().tagged_any(["x", "y"]).filter(|peer| *peer.id() != "a").send(&"to xy".to_owned())?;
            }
            Event::Schedule { name, after_ms } => {
                ctx.schedule(name).after(Duration::from_millis(after_ms))?;
            }
            Event::Repeat { name, every_ms } => {
                ctx.schedule(name).every(Duration::from_millis(every_ms))?;
            }
            Event::Snapshot => {
                let before = ctx.state()?;
                ctx.update(|state| state.count += 1)?;
                note(format!("{} then {}", before.count, ctx.state()?.count));
            }
        }
        Ok(())
    }

    async fn on_alarm(ctx: &RoomContext<Self>, alarm: String) -> Result<(), Failure> {
        note(format!("alarm {alarm} at {}", ctx.now_ms() - START_MS));
        assert_eq!(*ctx.id(), "r1");
        match &*alarm {
            "fails" => Err(Failure::msg("not yet")),
            "fails first" => match ctx.update(|state| {
                state.count += 1;
                state.count
            })? {
                count if count % 2 == 1 => Err(Failure::msg("not yet")),
                _ => Ok(()),
            },
            "again" => {
                ctx.schedule("again".to_owned()).after(Duration::from_secs(10))?;
                Ok(())
            }
            "waits" => {
                gate("alarm").await;
                Ok(())
            }
            "purges" => ctx.purge(),
            _ => Ok(()),
        }
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, close: Close) -> Result<(), Failure> {
        note(format!("close {} {} {:?}, {} left", peer.id(), close.code, close.reason, ctx.peers().len()));
        let sent = peer.send(&"too late".to_owned()).map_err(|error| error.kind());
        assert_eq!(sent, Err(ErrorKind::PeerGone));
        Ok(())
    }
}

/// A room in a world, and its tasks.
struct World {
    memory: Rc<Memory>,
    host: Rc<RoomHost>,
    executor: Rc<Executor>,
    clock: Rc<Clock>,
}

/// An empty request.
struct NoHandshake;

impl Handshake for NoHandshake {
    fn head(&self) -> Result<http::Request<()>, Error> {
        Ok(http::Request::default())
    }

    fn protocols(&self) -> Vec<String> {
        Vec::new()
    }

    fn address(&self) -> Option<String> {
        None
    }
}

fn new_host(memory: &Rc<Memory>) -> Rc<RoomHost> {
    host_of::<Probe>(memory)
}

/// A room of this type, without services.
fn host_of<R: Room>(memory: &Rc<Memory>) -> Rc<RoomHost> {
    RoomHost::new(room_type::<R>(), memory.clone(), Box::new(|| Ok(Box::new(()))))
}

/// The room, as a handler of it sees it.
fn probe(host: &Rc<RoomHost>) -> RoomContext<Probe> {
    RoomContext::new(host.invocation(None))
}

fn accepts(memory: &Rc<Memory>) -> Accept {
    let memory = memory.clone();
    Box::new(move |tags, _| Ok(memory.accept(tags)))
}

impl World {
    fn new() -> World {
        take_notes();
        GATES.take();
        let (executor, clock) = (Rc::new(Executor::default()), Clock::starting_at(START_MS));
        let random = Rc::new(RefCell::new(Random::new(0)));
        let memory = Memory::new("r1", "0f".repeat(32), (no_other_rooms(), 0), executor.clone(), clock.clone(), random);
        World { host: new_host(&memory), memory, executor, clock }
    }

    /// Drops everything in memory, as hibernation and a crash do.
    fn hibernate(&mut self) {
        GATES.take();
        self.executor.abort(0);
        self.host = new_host(&self.memory);
    }

    fn spawn<T: 'static>(&self, work: impl Future<Output = T> + 'static) {
        self.executor.spawn(0, Work::Call, Box::pin(async move { drop(work.await) }));
    }

    /// Runs until every task waits.
    fn settle(&mut self) {
        while self.executor.step() {}
        assert!(self.executor.take_panicked().is_empty(), "a handler panicked");
    }

    fn advance(&self, ms: u64) {
        self.clock.set(self.memory.now_ms() + ms);
    }

    fn socket(&self, socket: Socket) -> MemorySocket {
        self.memory.with_socket(socket, |socket| socket.clone())
    }

    fn stored(&self, key: &str) -> Option<String> {
        self.memory.stored(key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn begin_connect(&self, id: &str, name: &str, tags: &[&str]) {
        let (host, memory) = (self.host.clone(), self.memory.clone());
        let options = UpgradeOptions {
            data: Rc::new(Data { name: name.to_owned() }) as Value,
            id: Some(PeerId::from(id)),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            meta: None,
            on_duplicate: OnDuplicate::Allow,
            resume: None,
            on_resume: OnResume::KeepData,
            protocol: None,
        };
        self.spawn(async move {
            host.start(false).await.expect("there are services");
            if let Err(error) = host.connect(options, Rc::new(NoHandshake), accepts(&memory)).await {
                note(format!("refused: {}", error.kind()));
            }
        });
    }

    fn connect(&mut self, id: &str, tags: &[&str]) -> Socket {
        let before = self.memory.open(None).len() as Socket;
        self.begin_connect(id, id, tags);
        self.settle();
        before
    }

    fn begin_frame(&self, socket: Socket, text: &str) {
        let (host, text) = (self.host.clone(), text.to_owned());
        self.spawn(async move { host.message(socket, OwnedFrame::Text(text)).await });
    }

    fn frame(&mut self, socket: Socket, event: &Event) {
        self.begin_frame(socket, &serde_json::to_string(event).expect("an event is JSON"));
        self.settle();
    }

    fn close(&mut self, socket: Socket, code: u16) {
        self.memory.with_socket(socket, |socket| socket.closing = true);
        let (host, close) = (self.host.clone(), Close::new(code, "bye", true));
        self.spawn(async move { host.closed(socket, close).await });
        self.settle();
    }

    fn call(&mut self, command: &str) -> String {
        let (host, command) = (self.host.clone(), command.to_owned());
        let reply = Rc::new(RefCell::new(None));
        let to = reply.clone();
        self.spawn(async move { *to.borrow_mut() = Some(host.call(&command).await) });
        self.settle();
        reply.take().expect("the call was answered")
    }

    fn received(&self, socket: Socket) -> Vec<String> {
        let frames = self.memory.with_socket(socket, |socket| std::mem::take(&mut socket.received));
        let texts = frames.into_iter().map(|frame| match frame {
            OwnedFrame::Text(text) => text,
            OwnedFrame::Binary(bytes) => panic!("a binary frame of {} bytes", bytes.len()),
        });
        texts.collect()
    }

    fn trace(&self) -> Vec<String> {
        self.memory.trace.take()
    }

    fn state(&self) -> Option<String> {
        self.stored(keys::STATE)
    }
}

fn add(amount: i64) -> Event {
    Event::Add { amount }
}

fn wait(gate: &str) -> Event {
    Event::Wait { gate: gate.to_owned() }
}

#[test]
fn on_connect_runs_once_per_socket_and_not_on_wake() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.hibernate();
    world.frame(a, &add(1));
    assert_eq!(take_notes(), ["start", "connect a", "start"]);
    assert_eq!(world.received(a), ["\"count 101\""]);
}

#[test]
fn frames_that_come_during_on_connect_wait_for_it() {
    let mut world = World::new();
    world.begin_connect("a", "slow", &[]);
    world.settle();
    world.frame(0, &Event::Say { text: "first".to_owned() });
    assert_eq!(take_notes(), ["start", "connect a"]);
    open_gate("connect");
    world.settle();
    assert_eq!(take_notes(), ["said to 1, failed []"]);
}

#[test]
fn on_start_comes_before_everything_and_keeps_the_order_of_what_waits() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.hibernate();
    take_notes();
    let (sender, _receiver) = oneshot::channel();
    GATES.with_borrow_mut(|gates| gates.push(("starting-slowly".to_owned(), sender)));
    for text in ["1", "2", "3"] {
        world.frame(a, &Event::Say { text: text.to_owned() });
    }
    assert_eq!(take_notes(), ["start"]);
    assert!(world.received(a).is_empty());
    open_gate("start");
    // A frame that arrives just after the end of `on_start` does not overtake the waiting ones.
    world.begin_frame(a, r#"{"type":"Say","text":"4"}"#);
    world.settle();
    assert_eq!(world.received(a), ["\"1\"", "\"2\"", "\"3\"", "\"4\""]);
}

#[test]
fn frames_of_one_peer_keep_their_order_and_those_of_another_overtake() {
    let mut world = World::new();
    let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
    world.received(a);
    world.frame(a, &wait("a1"));
    world.frame(a, &Event::Say { text: "a2".to_owned() });
    world.frame(b, &Event::Say { text: "b1".to_owned() });
    assert_eq!(world.received(a), ["\"b1\""]);
    open_gate("a1");
    world.settle();
    assert_eq!(world.received(a), ["\"a1\"", "\"a2\""]);
}

#[test]
fn on_close_comes_behind_the_frames_and_the_handshake_does_not_wait_for_it() {
    let mut world = World::new();
    let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
    take_notes();
    world.frame(a, &wait("a1"));
    world.frame(a, &Event::Say { text: "a2".to_owned() });
    world.close(a, 4321);
    assert_eq!(world.socket(a).closed, Some((4321, "bye".to_owned())));
    assert!(take_notes().is_empty());
    open_gate("a1");
    world.settle();
    assert_eq!(take_notes(), ["said to 1, failed []", "close a 4321 \"bye\", 1 left"]);
    assert_eq!(world.received(b), ["\"a1\"", "\"a2\""]);
}

#[test]
fn on_close_runs_once_even_if_the_platform_says_it_twice() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    take_notes();
    world.close(a, 1000);
    world.close(a, 1006);
    world.hibernate();
    world.close(a, 1006);
    assert_eq!(take_notes(), ["close a 1000 \"bye\", 0 left"]);
}

#[test]
fn a_peer_is_itself_and_not_another_of_its_id() {
    let mut world = World::new();
    let (a, b) = (world.connect("a", &[]), world.connect("a", &[]));
    let peer = |socket| {
        let slot = world.host.slot_of(socket).expect("it is here");
        Peer::<Probe>::new(world.host.clone(), slot)
    };
    assert_eq!(peer(a), peer(a).clone());
    assert_ne!(peer(a), peer(b));
}

#[test]
fn what_the_platform_says_of_a_lost_connection_is_no_reason_of_its_peer() {
    for (code, was_clean, reason) in
        [(1006, false, ""), (1006, true, "gone"), (1001, false, "gone"), (1000, true, "gone")]
    {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        take_notes();
        world.memory.with_socket(a, |socket| socket.closing = true);
        let (host, close) = (world.host.clone(), Close::new(code, "gone", was_clean));
        world.spawn(async move { host.closed(a, close).await });
        world.settle();
        assert_eq!(take_notes(), [format!("close a {code} {reason:?}, 0 left")]);
    }
}

#[test]
fn a_peer_that_on_connect_refuses_leaves_nothing_behind() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.begin_connect("b", "refused", &[]);
    world.settle();
    assert_eq!(world.socket(1).closed.expect("closed").0, 1011);
    assert!(world.host.slot_of(1).is_none());
    world.close(1, 1011);
    world.frame(1, &add(1));
    world.frame(a, &Event::Kick { id: "nobody".to_owned() });
    assert_eq!(take_notes(), ["start", "connect a", "connect b", "1 peers left"]);
    assert_eq!(*world.memory.errors.borrow(), ["probe room `r1`, peer `b`: on_connect failed: not this one"]);
}

#[test]
fn a_socket_whose_on_connect_died_is_no_peer() {
    let mut world = World::new();
    world.begin_connect("a", "slow", &[]);
    world.settle();
    world.hibernate();
    world.frame(0, &add(1));
    assert_eq!(world.socket(0).closed.expect("closed").0, 1011);
    assert_eq!(world.state(), None);
}

#[test]
fn data_set_in_on_connect_and_later_survives() {
    let mut world = World::new();
    world.begin_connect("a", "renamed", &["t"]);
    world.settle();
    world.hibernate();
    let info = |name: &str| {
        format!(r#"{{"ok":[{{"id":"a","tags":["t"],"connected_at":1700000000000,"data":{{"name":"{name}"}}}}]}}"#)
    };
    assert_eq!(world.call("peers"), info("new name"));
    world.frame(0, &Event::Rename { name: "newer".to_owned() });
    world.hibernate();
    assert_eq!(world.call("tagged t"), info("newer"));
    assert_eq!(world.call("tagged u"), r#"{"ok":[]}"#);
}

#[test]
fn data_over_the_cap_is_an_error_and_changes_nothing() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &Event::Rename { name: "x".repeat(MAX_DATA_BYTES) });
    let error = world.memory.errors.borrow()[0].clone();
    assert!(error.ends_with("14347 bytes as JSON, the limit is 14336"), "{error}");
    assert!(world.call("peers").contains(r#""data":{"name":"a"}"#));

    take_notes();
    world.begin_connect("b", &"x".repeat(MAX_DATA_BYTES), &[]);
    world.settle();
    assert_eq!(take_notes(), ["refused: attachment_too_large"]);
    assert_eq!(world.memory.open(None), [a]);
}

#[test]
fn waking_reads_one_attachment_however_many_peers_there_are() {
    let mut world = World::new();
    for id in 0..50 {
        world.connect(&id.to_string(), &[]);
    }
    world.hibernate();
    world.memory.attachments_read.set(0);
    world.frame(7, &add(1));
    world.frame(7, &add(1));
    assert_eq!(world.memory.attachments_read.get(), 1);
    assert_eq!(world.received(49), ["\"count 101\"", "\"count 102\""]);
}

#[test]
fn state_is_read_once_and_written_before_it_is_told() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.trace();
    world.frame(a, &add(1));
    world.frame(a, &add(1));
    assert_eq!(
        world.trace(),
        [
            "get room:state",
            r#"put room:state {"count":101,"text":""}"#,
            r#"send "count 101""#,
            r#"put room:state {"count":102,"text":""}"#,
            r#"send "count 102""#,
        ]
    );
}

#[test]
fn a_change_is_written_before_the_handler_waits() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &wait("gate"));
    assert_eq!(world.state().as_deref(), Some(r#"{"count":100,"text":"gate"}"#));
    world.hibernate();
    assert_eq!(world.call("state"), r#"{"ok":[{"count":100,"text":"gate"}]}"#);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    take_notes();
    world.frame(a, &Event::Snapshot);
    assert_eq!(take_notes(), ["100 then 101"]);
}

#[test]
fn the_state_inside_an_update_is_an_error_and_no_panic() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    take_notes();
    world.frame(a, &Event::Nested);
    assert_eq!(take_notes(), ["Err(NestedUpdate)", "Err(NestedUpdate)"]);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#));
}

#[test]
fn a_failed_handler_keeps_its_changes_and_a_failed_try_update_has_none() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &Event::AddAndFail);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#));
    world.frame(a, &Event::TryAddAndFail);
    world.frame(a, &Event::Fail);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#));
    assert_eq!(
        *world.memory.errors.borrow(),
        [
            "probe room `r1`, peer `a`: on_event failed: invalid digit found in string",
            "probe room `r1`, peer `a`: on_event failed: changed its mind",
            "probe room `r1`, peer `a`: on_event failed: as told",
        ]
    );
    assert_eq!(world.received(a), [failed(), failed(), failed()]);
    world.frame(a, &add(1));
    assert_eq!(world.received(a), ["\"count 102\""]);
}

/// The error frame for the sender of an event whose handler failed.
fn failed() -> &'static str {
    r#"{"$room":{"error":{"code":"handler","message":"the room could not handle this event"}}}"#
}

#[test]
fn a_state_that_cannot_be_stored_is_given_up_and_reported() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &add(1));
    world.received(a);
    world.memory.writes_fail.set(true);
    world.frame(a, &add(1));
    assert_eq!(world.received(a), [failed()], "nobody is told of a change that is not stored");
    assert_eq!(
        world.memory.errors.take(),
        [
            "probe room `r1`, peer `a`: on_event failed: room `r1`: the room's state could not be stored: the disk is full"
        ]
    );
    world.memory.writes_fail.set(false);
    world.frame(a, &add(1));
    assert_eq!(world.received(a), ["\"count 102\""]);

    world.frame(a, &Event::Grow { bytes: MAX_VALUE_BYTES });
    let error = world.memory.errors.borrow()[0].clone();
    assert!(error.ends_with(&format!("bytes as JSON, the limit is {}", MAX_VALUE_BYTES)), "{error}");
    assert_eq!(world.call("state"), r#"{"ok":[{"count":102,"text":""}]}"#);
}

#[test]
fn a_state_and_data_may_be_as_large_as_the_limit_says() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &Event::Grow { bytes: 0 });
    let without = world.stored("room:state").expect("stored").len();
    world.frame(a, &Event::Grow { bytes: MAX_VALUE_BYTES - without });
    assert!(world.memory.errors.borrow().is_empty());
    assert_eq!(world.stored("room:state").expect("stored").len(), MAX_VALUE_BYTES);
    world.frame(a, &Event::Grow { bytes: MAX_VALUE_BYTES - without + 1 });
    let error = world.memory.errors.take().remove(0);
    assert!(
        error.ends_with(&format!("{} bytes as JSON, the limit is {}", MAX_VALUE_BYTES + 1, MAX_VALUE_BYTES)),
        "{error}"
    );

    // The limit holds for the longest id in its longest JSON encoding too.
    let b = world.connect(&"\u{1}".repeat(PeerId::MAX_BYTES), &[]);
    let most = MAX_DATA_BYTES - r#"{"name":""}"#.len();
    world.frame(b, &Event::Rename { name: "x".repeat(most) });
    assert!(world.memory.errors.borrow().is_empty());
    world.frame(b, &Event::Rename { name: "x".repeat(most + 1) });
    assert_eq!(world.memory.errors.take().len(), 1);
}

#[test]
fn a_state_that_cannot_be_read_or_decoded_is_an_error_and_stays() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.memory.reads_fail.set(true);
    world.frame(a, &add(1));
    world.memory.reads_fail.set(false);
    world.memory.store(keys::STATE, br#"{"count":"many"}"#);
    world.frame(a, &add(1));
    let reply = world.call("state");
    assert!(
        reply.starts_with(r#"{"err":{"kind":"decode","message":"the room's stored state does not decode: "#),
        "{reply}"
    );
    assert_eq!(world.state().as_deref(), Some(r#"{"count":"many"}"#));
    let errors = world.memory.errors.take();
    assert!(errors[0].ends_with("could not be read: the disk is gone"), "{errors:?}");
    assert!(errors[1].contains("invalid type: string \"many\", expected i64"), "{errors:?}");
}

#[test]
fn a_room_that_was_never_changed_has_no_state_for_the_client() {
    let mut world = World::new();
    assert_eq!(world.call("state"), r#"{"ok":[]}"#);
    let a = world.connect("a", &[]);
    assert_eq!(world.call("state"), r#"{"ok":[]}"#);
    world.frame(a, &add(1));
    assert_eq!(world.call("state"), r#"{"ok":[{"count":101,"text":""}]}"#);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#));
}

#[test]
fn selectors_intersect() {
    let mut world = World::new();
    let a = world.connect("a", &["x", "y"]);
    let b = world.connect("b", &["x"]);
    let c = world.connect("c", &["y"]);
    let d = world.connect("d", &[]);
    take_notes();
    for socket in [a, b, c, d] {
        world.received(socket);
    }
    world.frame(a, &Event::Select);
    assert_eq!(take_notes(), ["abcd", "ab", "a", "abc", "b", "b", "", "", "c", ""]);
    assert!(world.received(a).is_empty());
    assert_eq!(world.received(b), ["\"to x\"", "\"to xy\""]);
    assert_eq!(world.received(c), ["\"to xy\""]);
    assert!(world.received(d).is_empty());
    assert!(world.memory.errors.take().is_empty());
}

#[test]
fn an_id_is_no_tag_and_a_tag_no_id() {
    let mut world = World::new();
    let a = world.connect("a", &["b", "=b"]);
    let b = world.connect("b", &["#a"]);
    world.frame(a, &Event::Kick { id: "b".to_owned() });
    assert_eq!(world.socket(a).closed, None);
    assert_eq!(world.socket(b).closed, Some((1008, "out".to_owned())));
    let peers = world.call("tagged a");
    assert_eq!(peers, r#"{"ok":[]}"#);
}

#[test]
fn a_broadcast_passes_over_the_closing_and_reports_the_failing() {
    let mut world = World::new();
    let (a, b, c) = (world.connect("a", &[]), world.connect("b", &[]), world.connect("c", &[]));
    take_notes();
    world.memory.with_socket(b, |socket| socket.refuses = true);
    world.memory.with_socket(c, |socket| socket.closing = true);
    world.frame(a, &Event::Say { text: "hi".to_owned() });
    assert_eq!(take_notes(), [r#"said to 1, failed ["b"]"#]);
    assert_eq!(world.call(r#"broadcast "again""#), r#"{"ok":{"sent":1,"failed":["b"]}}"#);
    assert_eq!(world.received(a).last().map(String::as_str), Some("\"again\""));
}

#[test]
fn a_broadcast_of_the_worker_that_is_no_json_is_sent_to_nobody() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.received(a);
    for text in ["broadcast", "broadcast ", r#"broadcast "x","y""#, r#"once 1 k broadcast {"type":"#] {
        assert!(world.call(text).starts_with(r#"{"err":{"kind":"decode""#), "{text}");
        assert!(world.received(a).is_empty(), "{text}");
    }
}

#[test]
fn a_frame_that_does_not_decode_gets_one_error_frame_and_changes_nothing() {
    let mut world = World::new();
    let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
    for socket in [a, b] {
        world.received(socket);
    }
    let nested = "[".repeat(10_000);
    for text in ["", "nonsense", "{}", r#"{"type":"Unknown"}"#, r#"{"type":"Add"}"#, r#""\ud800""#, &nested] {
        world.begin_frame(a, text);
        world.settle();
        let received = world.received(a);
        assert_eq!(received.len(), 1, "{text:.20}");
        assert!(received[0].starts_with(r#"{"$room":{"error":{"code":"decode","message":""#), "{received:?}");
    }
    let host = world.host.clone();
    world.spawn(async move { host.message(a, OwnedFrame::Binary(vec![0xff, 0])).await });
    world.settle();
    assert!(world.received(a)[0].contains("binary"));
    assert!(world.received(b).is_empty());
    world.frame(a, &add(1));
    assert_eq!(world.received(b), ["\"count 101\""]);
}

#[test]
fn a_queue_that_is_full_tells_the_sender_of_each_frame() {
    let mut world = World::new();
    let a = world.connect("a", &[]);
    world.frame(a, &wait("gate"));
    for n in 0..MAX_QUEUED_FRAMES + 2 {
        world.begin_frame(a, &format!(r#"{{"type":"Say","text":"{n}"}}"#));
    }
    world.settle();
    let told = world.received(a);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|frame| frame.contains(r#""code":"overloaded""#)), "{told:?}");
    open_gate("gate");
    world.settle();
    assert_eq!(world.received(a).len(), 1 + MAX_QUEUED_FRAMES);
}

#[test]
fn the_workers_send_says_how_the_handler_failed() {
    let mut world = World::new();
    assert_eq!(world.call(r#"send {"type":"Add","amount":1}"#), r#"{"ok":null}"#);
    let failed = r#"{"err":{"kind":"handler","message":"as told","handler":"on_event"}}"#;
    assert_eq!(world.call(r#"send {"type":"Fail"}"#), failed);
    world.memory.writes_fail.set(true);
    let reply = world.call(r#"send {"type":"Add","amount":1}"#);
    assert!(reply.starts_with(r#"{"err":{"kind":"storage","#), "{reply}");
    let reply = world.call(r#"send {"type":"What"}"#);
    assert!(
        reply.starts_with(r#"{"err":{"kind":"decode","message":"the room does not understand this: unknown variant"#),
        "{reply}"
    );
}

#[test]
fn a_refusal_is_not_given_when_what_came_before_it_is_not_stored() {
    let mut world = World::new();
    assert_eq!(
        world.call(r#"send {"type":"AddAndRefuse","amount":1}"#),
        r#"{"err":{"kind":"refused","message":"enough","handler":"on_event","status":403}}"#
    );
    world.memory.writes_fail.set(true);
    let reply = world.call(r#"send {"type":"AddAndRefuse","amount":1}"#);
    assert!(reply.starts_with(r#"{"err":{"kind":"storage","#), "{reply}");
}

#[test]
fn a_purged_room_knows_no_call_that_was_made_before() {
    let mut world = World::new();
    let once = format!("once 1 k send {}", serde_json::to_string(&add(1)).expect("JSON"));
    assert_eq!(world.call(&once), world.call(&once));
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#), "once");
    world.host.purge().expect("room");
    assert_eq!(world.state(), None);
    world.call(&once);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#), "and once more");
}

#[test]
fn a_kicked_peer_is_gone_at_once_and_its_on_close_follows() {
    let mut world = World::new();
    let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
    take_notes();
    world.frame(a, &Event::Kick { id: "b".to_owned() });
    assert_eq!(take_notes(), ["1 peers left"]);
    world.close(b, 1008);
    assert_eq!(take_notes(), ["close b 1008 \"bye\", 1 left"]);
}

mod alarms {
    use super::*;

    fn schedule(name: &str, after_ms: u64) -> Event {
        Event::Schedule { name: name.to_owned(), after_ms }
    }

    impl World {
        fn begin_alarm(&self) {
            let host = self.host.clone();
            self.spawn(host.alarm());
        }

        /// Lets time pass. The platform's alarm fires whenever it is due.
        fn pass(&mut self, ms: u64) {
            let end = self.memory.now_ms() + ms;
            while let Some(at) = self.memory.alarm.get().filter(|at| *at <= end) {
                self.advance(at.saturating_sub(self.memory.now_ms()));
                self.memory.take_alarm(at.max(self.memory.now_ms()));
                self.begin_alarm();
                self.settle();
            }
            self.advance(end - self.memory.now_ms());
            self.settle();
        }
    }

    #[test]
    fn an_alarm_may_purge_the_room() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        world.frame(a, &schedule("purges", 1_000));
        world.frame(a, &schedule("never", 2_000));
        take_notes();
        world.pass(5_000);
        assert_eq!(take_notes(), ["alarm purges at 1000"]);
        assert!(world.memory.errors.take().is_empty());
        assert_eq!(world.memory.alarm.get(), None);
        assert!(world.memory.list("").expect("readable").is_empty());
        assert_eq!(world.socket(a).closed.expect("closed").0, 1000);
    }

    #[test]
    fn alarms_fire_when_due_in_order_and_across_hibernation() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        for (name, after_ms) in [("late", 5_000), ("early", 1_000), ("same", 5_000), ("at once", 0)] {
            world.frame(a, &schedule(name, after_ms));
        }
        // An alarm after a restart does not say the object's name.
        world.memory.nameless.set(true);
        world.hibernate();
        take_notes();
        world.pass(999);
        assert_eq!(take_notes(), ["start", "alarm at once at 0"]);
        world.pass(10_000);
        assert_eq!(take_notes(), ["alarm early at 1000", "alarm late at 5000", "alarm same at 5000"]);
        // The remaining alarm is the watchdog of the connected peer.
        assert!(world.memory.alarm.get().is_some_and(|at_ms| at_ms >= START_MS + Probe::WATCHDOG_MS));
        assert!(world.memory.list("room:schedule:").expect("readable").is_empty());
    }

    #[test]
    fn an_alarm_that_fails_is_tried_again_ever_later_and_holds_up_no_other() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        take_notes();
        world.frame(a, &schedule("fails", 0));
        world.frame(a, &schedule("other", 100));
        world.pass(15_000);
        assert_eq!(
            take_notes(),
            [
                "alarm fails at 0",
                "alarm other at 100",
                "alarm fails at 2000",
                "alarm fails at 6000",
                "alarm fails at 14000",
            ]
        );
        assert_eq!(world.memory.errors.borrow()[0], "probe room `r1`: on_alarm failed: not yet");
        for _ in 0..40 {
            world.pass(3_600_000);
        }
        assert!(take_notes().len() > 40, "at least once an hour, for ever");
    }

    #[test]
    fn alarms_of_one_time_keep_their_order_across_hibernation() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        let names: Vec<_> = (0..12).map(|n| format!("n{n}")).collect();
        for name in &names {
            world.frame(a, &schedule(name, 5_000));
            world.hibernate();
        }
        take_notes();
        world.pass(5_000);
        let fired: Vec<_> = names.iter().map(|name| format!("alarm {name} at 5000")).collect();
        let notes = take_notes();
        assert_eq!(notes[notes.len() - fired.len()..], fired);
    }

    #[test]
    fn each_time_of_a_period_has_its_own_tries() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        take_notes();
        world.frame(a, &Event::Repeat { name: "fails first".to_owned(), every_ms: 100_000 });
        world.pass(310_000);
        let at = [100_000, 102_000, 200_000, 202_000, 300_000, 302_000];
        assert_eq!(take_notes(), at.map(|ms| format!("alarm fails first at {ms}")));
    }

    #[test]
    fn an_alarm_during_which_the_room_died_is_tried_again() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        take_notes();
        world.frame(a, &schedule("waits", 0));
        world.pass(0);
        assert_eq!(take_notes(), ["alarm waits at 0"]);
        world.hibernate();
        world.pass(2_000);
        assert_eq!(take_notes(), ["start", "alarm waits at 2000"]);
        world.hibernate();
        world.pass(10_000);
        assert_eq!(take_notes(), ["start", "alarm waits at 6000"]);
        open_gate("alarm");
        world.settle();
        world.pass(1_000_000);
        assert!(take_notes().is_empty(), "it is done");
    }

    #[test]
    fn without_its_id_in_storage_a_room_sets_no_alarm() {
        let memory = Memory::alone("r1");
        let host = new_host(&memory);
        let schedule = || probe(&host).schedule("x".to_owned()).after(Duration::ZERO).map(drop);
        memory.writes_fail.set(true);
        let error = schedule().expect_err("nothing can be stored");
        assert!(error.message().ends_with("the room's id could not be stored: the disk is full"), "{error}");
        assert_eq!(memory.alarm.get(), None);
        memory.writes_fail.set(false);
        schedule().expect("it is stored");
        assert_eq!((memory.stored("room:id"), memory.alarm.get()), (Some(b"r1".to_vec()), Some(START_MS)));
    }

    #[test]
    fn an_alarm_may_set_the_next_one() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        take_notes();
        world.frame(a, &schedule("again", 0));
        world.pass(25_000);
        assert_eq!(take_notes(), ["alarm again at 0", "alarm again at 10000", "alarm again at 20000"]);
    }

    #[test]
    fn a_schedule_that_cannot_be_stored_is_an_error_and_changes_nothing() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        world.frame(a, &schedule("kept", 5_000));
        take_notes();
        world.memory.writes_fail.set(true);
        world.frame(a, &schedule("lost", 1_000));
        let errors = world.memory.errors.take();
        assert!(errors[0].ends_with("the schedule could not be stored: the disk is full"), "{errors:?}");
        world.advance(5_000);
        world.begin_alarm();
        world.settle();
        // The handler does not begin before its retry is stored, and the room schedules another try.
        assert_eq!(take_notes(), [""; 0]);
        assert_eq!(world.memory.alarm.get(), Some(START_MS + 5_000 + RESTART_MS));
        assert_eq!(world.memory.errors.take().len(), 1);
        world.memory.writes_fail.set(false);
        world.frame(a, &schedule(&"x".repeat(MAX_VALUE_BYTES), 0));
        let errors = world.memory.errors.take();
        assert!(errors[0].contains("bytes as JSON, the limit is"), "{errors:?}");
        world.begin_alarm();
        world.settle();
        assert_eq!(take_notes(), ["alarm kept at 5000"]);
    }
}

mod tickets {
    use super::*;

    const TICKET: &str = "0123456789abcdef0123456789abcdef";

    fn prepare(id: &str) -> String {
        format!(r#"prepare {TICKET} {{"id":"{id}","data":{{"name":"{id}"}}}}"#)
    }

    fn begin_upgrade(world: &World) {
        begin_upgrade_with(world, TICKET.to_owned());
    }

    fn begin_upgrade_with(world: &World, ticket: String) {
        let (host, memory) = (world.host.clone(), world.memory.clone());
        world.spawn(async move {
            match host.upgrade(&ticket, Rc::new(NoHandshake), accepts(&memory)).await {
                Ok(_) => note("upgraded"),
                Err(error) => note(format!("refused: {}", error.kind())),
            }
        });
    }

    #[test]
    fn the_two_halves_meet_in_either_order() {
        let mut world = World::new();
        assert_eq!(world.call(&prepare("a")), r#"{"ok":null}"#);
        begin_upgrade(&world);
        world.settle();
        assert_eq!(take_notes(), ["start", "connect a", "upgraded"]);

        begin_upgrade(&world);
        world.settle();
        assert!(take_notes().is_empty(), "a ticket works once");
        assert_eq!(world.call(&prepare("b")), r#"{"ok":null}"#);
        assert_eq!(take_notes(), ["connect b", "upgraded"]);
    }

    #[test]
    fn a_ticket_that_no_one_prepared_is_refused_after_a_while() {
        let mut world = World::new();
        begin_upgrade(&world);
        world.settle();
        begin_upgrade(&world);
        world.settle();
        assert_eq!(take_notes(), ["refused: ticket"], "the second one cannot wait for the same ticket");
        world.advance(60_000);
        world.settle();
        assert_eq!(take_notes(), ["refused: ticket"]);
        assert!(world.memory.open(None).is_empty());
    }

    #[test]
    fn a_prepared_ticket_does_not_wait_for_ever() {
        let mut world = World::new();
        world.call(&prepare("a"));
        world.advance(60_000);
        begin_upgrade(&world);
        world.settle();
        world.advance(60_000);
        world.settle();
        assert_eq!(take_notes(), ["refused: ticket"]);
    }

    #[test]
    fn any_number_of_made_up_tickets_leaves_room_for_a_real_one() {
        let mut world = World::new();
        for n in 0..5_000 {
            begin_upgrade_with(&world, format!("{n:032x}"));
        }
        world.settle();
        let refused = take_notes();
        assert!(
            refused.len() < 1_000 && refused.iter().all(|note| note == "refused: ticket"),
            "the oldest stop waiting"
        );
        assert_eq!(world.call(&prepare("a")), r#"{"ok":null}"#);
        begin_upgrade(&world);
        world.settle();
        assert_eq!(take_notes(), ["start", "connect a", "upgraded"]);
        // The request may arrive before the RPC, as long as fewer than thousands arrive in between.
        begin_upgrade(&world);
        world.settle();
        world.call(&prepare("b"));
        assert_eq!(take_notes(), ["refused: ticket", "connect b", "upgraded"]);
        world.advance(60_000);
        world.settle();
        assert!(take_notes().len() > 4_000, "in the end all are refused");
    }

    #[test]
    fn without_an_id_a_peer_gets_a_uuid_of_version_7() {
        let mut world = World::new();
        world.call(&format!(r#"prepare {TICKET} {{"data":{{"name":"x"}}}}"#));
        begin_upgrade(&world);
        world.settle();
        let notes = take_notes();
        let id = notes[1].strip_prefix("connect ").expect("it connected");
        // 1_700_000_000_000 ms, then the version.
        assert!(id.len() == 36 && id.starts_with("018bcfe5-6800-7"), "{id}");
    }
}

mod limits {
    use super::*;
    use crate::{Limits, RateLimit, RateLimitBy, platform::memory::Memory};

    #[test]
    fn a_frame_of_exactly_the_limit_is_decoded_and_one_byte_more_is_not() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        let limit = Probe::LIMITS.max_message_bytes;
        for (bytes, code) in [(limit, "decode"), (limit + 1, "too_large")] {
            world.begin_frame(a, &"x".repeat(bytes));
            world.settle();
            let [report] = &*world.received(a) else { panic!("one report") };
            assert!(report.contains(&format!(r#""code":"{code}""#)), "{bytes}: {report}");
        }
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_and_what_was_handled_does_not_count() {
        let mut world = World::new();
        let a = world.connect("a", &[]);
        let big = |n: u32| format!(r#"{{"type":"Say","text":"{n}{}"}}"#, " ".repeat(2_000_000));
        for round in 0..3 {
            world.frame(a, &wait("gate"));
            // Two of these frames fit into the queue; the third does not.
            for n in 0..3 {
                world.begin_frame(a, &big(n));
                world.settle();
            }
            let told = world.received(a);
            assert_eq!(told.len(), 1, "round {round}");
            assert!(
                told[0].contains(r#""code":"overloaded","message":"2 frames of this peer are waiting"#),
                "{}",
                told[0]
            );
            // A frame that is too large takes no room in the queue.
            world.begin_frame(a, &"x".repeat(Probe::LIMITS.max_message_bytes + 1));
            open_gate("gate");
            world.settle();
            let said = world.received(a);
            let starts: Vec<_> = said.iter().map(|text| &text[..2]).collect();
            assert_eq!(starts, ["\"g", "\"0", "\"1", "{\""], "round {round}");
        }
    }

    #[test]
    fn a_reason_may_have_123_bytes() {
        for (bytes, fits) in [(123, true), (124, false)] {
            assert_eq!(crate::types::close::check_reason(&"x".repeat(bytes)).is_ok(), fits);
        }
    }

    #[test]
    fn a_deserted_room_forgets_what_it_has_in_memory() {
        let mut world = World::new();
        let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
        world.frame(a, &add(1));
        let read = |world: &mut World| {
            world.trace();
            world.call("state");
            world.trace().iter().any(|what| what == "get room:state")
        };
        assert!(!read(&mut world), "it is in memory");
        world.close(a, 1000);
        assert!(!read(&mut world), "somebody is here");
        world.close(b, 1000);
        assert!(read(&mut world), "nobody is here");
        assert!(!read(&mut world), "and that was read once");
    }

    #[test]
    fn a_room_whose_peers_sleep_is_not_deserted() {
        let mut world = World::new();
        let (a, _b) = (world.connect("a", &[]), world.connect("b", &[]));
        world.frame(a, &add(1));
        world.hibernate();
        world.close(a, 1000);
        world.call("state");
        world.trace();
        world.call("state");
        assert!(world.trace().is_empty(), "the state is read once in a wake");
    }

    #[test]
    fn a_state_that_is_to_be_stored_is_not_forgotten() {
        let memory = Memory::alone("r1");
        let host = new_host(&memory);
        probe(&host).update(|state| state.count = 7).expect("updated");
        host.release_memory();
        host.flush().expect("stored");
        assert_eq!(memory.stored(keys::STATE).as_deref(), Some(&br#"{"count":7,"text":""}"#[..]));
    }

    #[test]
    fn limits_are_what_they_are_set_to() {
        let limits = Limits::DEFAULT.max_peers(1).max_message_bytes(2).max_unread_bytes(3);
        let limits = limits.rate_limit(RateLimit::new(4, 5.0));
        assert_eq!((limits.max_peers, limits.max_message_bytes, limits.max_unread_bytes), (1, 2, 3));
        assert_eq!(limits.rate_limit, Some(RateLimit { burst: 4, per_second: 5.0, by: RateLimitBy::Peer }));
        assert_eq!(Limits::default(), Limits::DEFAULT);
    }
}

/// A room without the handlers that its constants say it does not have.
mod without_handlers {
    use futures_util::FutureExt;

    use super::*;

    /// A room with this `PURGE_AFTER_MS` and this `RECONNECT_GRACE_MS`.
    enum Quiet<const PURGE_AFTER_MS: u64, const GRACE_MS: u64 = 0> {}

    impl<const PURGE_AFTER_MS: u64, const GRACE_MS: u64> Room for Quiet<PURGE_AFTER_MS, GRACE_MS> {
        const NAME: &'static str = "quiet";
        const BINDING: &'static str = "QUIET";
        const CLASS: &'static str = "QuietRoom";
        const PURGE_AFTER_MS: u64 = PURGE_AFTER_MS;
        const RECONNECT_GRACE_MS: u64 = GRACE_MS;
        const HAS_ON_UPGRADE: bool = false;
        const HAS_ON_JOIN: bool = false;
        const HAS_ON_CLOSE: bool = false;
        const HAS_ON_LEAVE: bool = false;
        const HAS_ON_ALARM: bool = false;
        const HAS_ON_UNDELIVERED: bool = false;
        const HAS_ON_REQUEST: bool = false;
        type State = ();
        type Connection = ();
        type Event = ();
        type Broadcast = ();
        type Alarm = ();
        type Services = ();

        fn init(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
            Ok(())
        }

        fn services(_env: &worker::Env) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn what_a_room_needs_an_alarm_for() {
        let [nothing, purge, grace, handler] =
            [room_type::<Quiet<0>>(), room_type::<Quiet<1>>(), room_type::<Quiet<0, 1>>(), room_type::<Probe>()]
                .map(|room| room.parts.alarm.is_some());
        assert_eq!((nothing, purge, grace, handler), (false, true, true, true));
    }

    fn now<T>(work: impl Future<Output = T>) -> T {
        work.now_or_never().expect("nothing waits")
    }

    fn quiet(memory: &Rc<Memory>) -> Rc<RoomHost> {
        host_of::<Quiet<0>>(memory)
    }

    /// Connects a peer and disconnects it.
    fn visit(host: &Rc<RoomHost>, memory: &Rc<Memory>) {
        let options = UpgradeOptions {
            data: Rc::new(()) as Value,
            id: None,
            tags: Vec::new(),
            meta: None,
            on_duplicate: OnDuplicate::Allow,
            resume: None,
            on_resume: OnResume::KeepData,
            protocol: None,
        };
        now(host.start(false)).expect("it starts");
        let upgraded = now(host.connect(options, Rc::new(NoHandshake), accepts(memory)));
        assert!(matches!(upgraded, Ok(Upgraded::Accepted)), "{upgraded:?}");
        memory.with_socket(0, |socket| socket.closing = true);
        now(host.closed(0, Close::new(1000, "", true)));
        assert_eq!(memory.with_socket(0, |socket| socket.closed.clone()), Some((1000, String::new())));
    }

    #[test]
    fn there_is_no_roster() {
        let memory = Memory::alone("r1");
        visit(&quiet(&memory), &memory);
        assert!(memory.trace.take().iter().all(|what| !what.starts_with("put") && !what.starts_with("delete")));
    }

    #[test]
    fn a_schedule_of_code_that_had_the_handler_stays() {
        let memory = Memory::alone("r1");
        let host = quiet(&memory);
        now(host.start(false)).expect("it starts");
        let ctx = RoomContext::<Quiet<0>>::new(host.invocation(None));
        let alarm = Job::alarm(&()).expect("encodes");
        host.schedules.add(&*memory, alarm, None, START_MS, None).expect("scheduled");
        assert_eq!(ctx.next_alarm().expect("readable"), Some(START_MS));
        let stored = memory.list("room:schedule:").expect("readable");
        assert_eq!(now(host.call("fire_alarm")), r#"{"ok":false}"#);
        assert_eq!((stored.len(), memory.list("room:schedule:").expect("readable")), (1, stored));
    }

    #[test]
    fn what_the_room_has_scheduled_for_itself_needs_no_handler() {
        let (executor, clock) = (Rc::new(Executor::default()), Clock::starting_at(START_MS));
        let random = Rc::new(RefCell::new(Random::new(0)));
        let memory = Memory::new("r1", "0f".repeat(32), (no_other_rooms(), 0), executor.clone(), clock.clone(), random);
        let host = host_of::<Quiet<1_000>>(&memory);
        visit(&host, &memory);
        assert_eq!(memory.alarm.get(), Some(START_MS + 1_000));
        clock.set(START_MS + 1_000);
        memory.spawn(Box::pin(host.alarm()));
        while executor.step() {}
        assert!(memory.list("").expect("readable").is_empty(), "the room is purged");
    }

    #[test]
    fn a_request_is_answered_with_404() {
        let host = quiet(&Memory::alone("r1"));
        let response = now(host.request(http::Request::default()));
        assert_eq!(response.map(|response| response.status().as_u16()).ok(), Some(404));
    }
}

/// A state that earlier code has stored.
mod versions {
    use super::*;

    /// A room of state version 2. Its state says from which version it was made.
    enum Versioned {}

    impl Room for Versioned {
        const NAME: &'static str = "versioned";
        const BINDING: &'static str = "VERSIONED";
        const CLASS: &'static str = "VersionedRoom";
        const STATE_VERSION: u32 = 2;
        type State = String;
        type Connection = ();
        type Event = ();
        type Broadcast = ();
        type Alarm = ();
        type Services = ();

        fn init(_ctx: &RoomContext<Self>) -> Result<String, Failure> {
            Ok("new".to_owned())
        }

        fn migrate(version: u32, state: serde_json::Value) -> Result<String, Failure> {
            Ok(format!("{version}: {state}"))
        }

        fn services(_env: &worker::Env) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// The state as it is read, and the version that is stored after that.
    fn read(version: Option<&str>) -> (Result<String, String>, Option<String>) {
        let memory = Memory::alone("r1");
        memory.put("room:state", br#""old""#).expect("room");
        if let Some(version) = version {
            memory.put("room:state_version", version.as_bytes()).expect("room");
        }
        let host = host_of::<Versioned>(&memory);
        let ctx = RoomContext::<Versioned>::new(host.invocation(None));
        let state = ctx.state().map(|state| (*state).clone()).map_err(|error| error.to_string());
        host.flush().expect("room");
        let stored = memory.get("room:state_version").expect("readable");
        (state, stored.map(|bytes| String::from_utf8(bytes).expect("text")))
    }

    #[test]
    fn an_older_one_is_migrated_and_a_newer_one_refused() {
        let two = Some("2".to_owned());
        assert_eq!(read(None), (Ok("0: \"old\"".to_owned()), two.clone()));
        assert_eq!(read(Some("1")), (Ok("1: \"old\"".to_owned()), two.clone()));
        assert_eq!(read(Some("2")), (Ok("old".to_owned()), two));
        let (state, stored) = read(Some("3"));
        let error = "room `r1`: the room's state was stored as version 3, this code knows it up to 2";
        assert_eq!((state, stored.as_deref()), (Err(error.to_owned()), Some("3")));
    }
}

/// Values in storage that do not decode: each fails alone, is reported once, and has a defined end.
mod unreadable {
    use super::*;

    const ALICE: &str = r#"{"name":"aa","id":"alice","connected_at":1,"tags":[],"data":{"name":"a"}}"#;
    const BOB: &str = r#"{"name":"bb","id":"bob","connected_at":1,"tags":["x"],"data":{"nick":"b"}}"#;

    fn stored(values: &[(&str, &str)]) -> World {
        let world = World::new();
        values.iter().for_each(|(key, value)| world.memory.store(key, value.as_bytes()));
        world
    }

    #[test]
    fn an_entry_whose_data_does_not_decode_is_reported_and_taken_out() {
        let mut world = stored(&[("room:peer:aa", ALICE), ("room:peer:bb", BOB), ("room:peer:cc", "7")]);
        assert_eq!(world.call("peers"), r#"{"ok":[]}"#);
        assert_eq!(take_notes(), ["start", "close alice 1006 \"\", 0 left"]);
        let errors = world.memory.errors.take();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("an entry of the room's roster does not decode"), "{errors:?}");
        assert!(errors[1].starts_with("probe room `r1`, peer `bob`: on_close failed"), "{errors:?}");
        assert!(errors[1].contains("missing field `name`"), "{errors:?}");
        assert_eq!((world.stored("room:peer:aa"), world.stored("room:peer:bb")), (None, None));
        world.hibernate();
        world.call("peers");
        assert_eq!(take_notes(), ["start"]);
    }

    #[test]
    fn a_place_that_code_with_a_grace_has_kept_ends_without_one() {
        let away = r#","away":{"since_ms":1,"close":{"code":1001,"reason":"","was_clean":true}}}"#;
        let mut world = stored(&[("room:peer:aa", &ALICE.replace("}}", &format!("}}{away}")))]);
        world.call("peers");
        assert_eq!(take_notes(), ["start", "close alice 1001 \"\", 0 left"]);
        assert_eq!(world.stored("room:peer:aa"), None);
    }

    #[test]
    fn a_noted_end_that_does_not_decode_hides_no_other() {
        let leaving =
            r#"{"name":"aa","generation":0,"close":{"code":1000,"reason":"","was_clean":true},"is_final":true}"#;
        let mut world = stored(&[
            ("room:leaving:a", "nonsense"),
            ("room:leaving:aa", leaving),
            ("room:leaving:zz", r#"{"name":"zz"}"#),
            ("room:peer:aa", ALICE),
        ]);
        world.call("peers");
        assert_eq!(take_notes(), ["start", "close alice 1000 \"\", 0 left"]);
        assert_eq!(world.memory.errors.take().len(), 2);
        assert_eq!(world.stored("room:leaving:aa"), None);
    }

    #[test]
    fn an_alarm_that_does_not_decode_holds_up_no_other_and_stays() {
        let pending = |id: &str, due_ms: u64, what: &str| {
            format!(r#"{{"id":"{id}","number":0,"due_ms":{due_ms},"nominal_ms":{due_ms},"what":{what}}}"#)
        };
        let id = "0000000000000001";
        let mut world = stored(&[
            ("room:schedule:0000000000000001", &pending(id, START_MS + 1_000, r#"{"alarm":{"was":"a struct"}}"#)),
            ("room:schedule:0000000000000002", &pending("0000000000000002", START_MS + 2_000, r#"{"alarm":"kept"}"#)),
            ("room:schedule:0000000000000003", r#"{"was":"another layout"}"#),
        ]);
        let a = world.connect("a", &[]);
        world.frame(a, &Event::Schedule { name: "new".to_owned(), after_ms: 1_500 });
        take_notes();
        let mut fire = |ms: u64| {
            world.advance(ms);
            world.spawn(world.host.clone().alarm());
            world.settle();
        };
        fire(2_000);
        assert_eq!(take_notes(), ["alarm new at 2000", "alarm kept at 2000"]);
        fire(2_000);
        fire(4_000);
        let errors = world.memory.errors.take();
        let reported = errors.iter().filter(|error| error.contains("a stored alarm does not decode"));
        assert_eq!(reported.count(), 1, "{errors:?}");
        assert!(errors.iter().any(|error| error.contains("a stored schedule does not decode")), "{errors:?}");
        // The alarm is kept for code that can decode it, with a growing delay between the tries.
        let kept = world.stored("room:schedule:0000000000000001").expect("it is kept");
        assert!(kept.contains(r#""attempts":3"#), "{kept}");
        assert!(world.stored("room:schedule:0000000000000003").is_some());
    }

    #[test]
    fn a_kept_answer_that_does_not_decode_hides_no_other() {
        let mut world = World::new();
        assert_eq!(world.call(r#"once 1 k send {"type":"Add","amount":1}"#), r#"{"ok":null}"#);
        world.memory.store("room:answer:7", b"{}");
        world.hibernate();
        assert_eq!(world.call(r#"once 1 k send {"type":"Add","amount":1}"#), r#"{"ok":null}"#);
        assert_eq!(world.state().as_deref(), Some(r#"{"count":101,"text":""}"#));
        assert_eq!(world.memory.errors.take().len(), 1);
    }

    #[test]
    fn an_attachment_that_does_not_decode_ends_its_connection_once() {
        let mut world = World::new();
        let (a, b) = (world.connect("a", &[]), world.connect("b", &[]));
        world.memory.attach(a, br#"["a",1,{"nick":"a"},"aa",0]"#).expect("attached");
        world.hibernate();
        take_notes();
        world.frame(b, &Event::Say { text: "hello".to_owned() });
        world.frame(a, &Event::Say { text: "lost".to_owned() });
        assert_eq!(world.socket(a).closed, Some((1011, "the room lost this connection".to_owned())));
        world.close(a, 1011);
        world.hibernate();
        world.frame(b, &Event::Say { text: "again".to_owned() });
        let errors = world.memory.errors.take();
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

/// A room that keeps places.
mod keeping {
    use super::*;

    /// A room that keeps places for a minute, and itself for an hour. It records nothing.
    enum Keeper {}

    impl Room for Keeper {
        const NAME: &'static str = "keeper";
        const BINDING: &'static str = "KEEPER";
        const CLASS: &'static str = "KeeperRoom";
        const RECONNECT_GRACE_MS: u64 = 60_000;
        const PURGE_AFTER_MS: u64 = 3_600_000;
        type State = ();
        type Connection = Data;
        type Event = ();
        type Broadcast = ();
        type Alarm = ();
        type Services = ();

        fn init(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
            Ok(())
        }

        fn services(_env: &worker::Env) -> Result<(), Failure> {
            Ok(())
        }

        async fn on_close(_ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
            note(format!("close {}", peer.id()));
            Ok(())
        }
    }

    #[test]
    fn a_place_whose_data_does_not_decode_ends_with_its_time_and_keeps_no_room_alive() {
        let world = crate::testing::World::new();
        let room = world.room::<Keeper>("r");
        for id in ["alice", "bob"] {
            let name = id.to_owned();
            room.connect(crate::Upgrade::new(Data { name }).id(id)).disconnect();
        }
        room.hibernate();
        // An entry as code with another data type would have stored it.
        let memory = &room.object.memory;
        let keys = memory.keys("room:peer:");
        for key in &keys {
            let entry = String::from_utf8(memory.stored(key).expect("an entry")).expect("text");
            memory.store(key, entry.replace(r#"{"name":"bob"}"#, "7").as_bytes());
        }
        take_notes();
        let away = room.object.host().presence().expect("readable");
        assert_eq!(away.iter().map(|user| user.id.to_string()).collect::<Vec<_>>(), ["alice", "bob"]);
        room.advance(Duration::from_secs(61));
        assert_eq!(take_notes(), ["close alice"]);
        let log = room.take_log();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(log[0].starts_with("keeper room `r`, peer `bob`: on_close failed"), "{log:?}");
        assert!(memory.keys("room:peer:").is_empty());
        room.advance(Duration::from_secs(3_600));
        assert!(memory.keys("").is_empty(), "{:?}", memory.keys(""));
    }
}

#[test]
fn the_changes_of_a_transaction_are_one_write_and_a_failed_one_has_none() {
    let world = World::new();
    let ctx = probe(&world.host);
    ctx.update(|state| state.count += 1).expect("changed");
    let text = ctx.sql().transaction(|_| {
        ctx.update(|state| state.count += 10)?;
        ctx.update(|state| state.text = "inside".to_owned())?;
        Ok(ctx.state()?.text.clone())
    });
    assert_eq!(text.expect("stored"), "inside");
    let puts: Vec<_> = world.trace().into_iter().filter(|line| line.starts_with("put room:state ")).collect();
    // The change before the transaction, and the changes in it.
    assert_eq!(puts, [r#"put room:state {"count":101,"text":""}"#, r#"put room:state {"count":111,"text":"inside"}"#]);
    let failed = ctx.sql().transaction::<()>(|_| {
        ctx.update(|state| state.count = 0)?;
        ctx.schedule("never".to_owned()).after(Duration::ZERO)?;
        Err(Failure::msg("no"))
    });
    assert_eq!(failed.expect_err("it fails").to_string(), "no");
    assert_eq!(ctx.state().expect("read").count, 111);
    assert_eq!(world.state().as_deref(), Some(r#"{"count":111,"text":"inside"}"#));
    assert_eq!((ctx.next_alarm().expect("read"), world.memory.next_alarm()), (None, None));
    // The id that the schedule needs is stored again by the next one.
    assert_eq!(world.stored(keys::ID), None);
    ctx.schedule("set".to_owned()).after(Duration::ZERO).expect("set");
    assert!(world.stored(keys::ID).is_some());
}

#[test]
fn a_transaction_that_cannot_be_written_keeps_the_old_state() {
    let world = World::new();
    let ctx = probe(&world.host);
    ctx.sql().transaction(|_| Ok(ctx.update(|state| state.count = 1)?)).expect("stored");
    let failed = ctx.sql().transaction(|_| {
        world.memory.writes_fail.set(true);
        Ok(ctx.update(|state| state.count = 2)?)
    });
    assert_eq!(failed.expect_err("the disk is full").kind(), ErrorKind::Storage);
    world.memory.writes_fail.set(false);
    assert_eq!(ctx.state().expect("read").count, 1);
    ctx.sql().transaction(|_| Ok(ctx.update(|state| state.count = 3)?)).expect("stored");
    assert_eq!(world.state().as_deref(), Some(r#"{"count":3,"text":""}"#));
}

#[test]
fn a_panic_in_a_transaction_rolls_it_back() {
    let mut world = World::new();
    let ctx = probe(&world.host);
    ctx.update(|state| state.count = 1).expect("changed");
    let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ctx.sql().transaction::<()>(|sql| {
            ctx.schedule("never".to_owned()).after(Duration::ZERO)?;
            sql.transaction(|_| Ok(ctx.update(|state| state.count = 2)?))?;
            panic!("on purpose");
        })
    }));
    assert!(crashed.is_err());
    world.hibernate();
    assert_eq!(world.state().as_deref(), Some(r#"{"count":1,"text":""}"#));
    assert_eq!((world.stored(keys::ID), world.memory.next_alarm()), (None, None));
}

#[cfg(feature = "sqlite")]
#[test]
fn migrations_with_nothing_to_do_cost_one_read() {
    let world = World::new();
    let ctx = probe(&world.host);
    let list = ["create table a (x)", "insert into a values (1)"];
    assert_eq!(ctx.sql().migrate(&list).expect("runs"), 2);
    world.trace();
    assert_eq!(ctx.sql().migrate(&list).expect("knows"), 0);
    assert_eq!(world.trace(), ["get room:migrations"]);
    world.memory.reads_fail.set(true);
    assert_eq!(ctx.sql().migrate(&list).expect_err("the disk is gone").kind(), ErrorKind::Storage);
    world.memory.reads_fail.set(false);
    world.memory.writes_fail.set(true);
    let list = ["create table a (x)", "insert into a values (1)", "select x from a"];
    let error = ctx.sql().migrate(&list).expect_err("the disk is full");
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.message().starts_with("migration 3 of 3, `select x from a`: "), "{error}");
    world.memory.writes_fail.set(false);
    assert_eq!(ctx.sql().migrate(&list).expect("runs"), 1);
    world.memory.store(keys::MIGRATIONS, b"[1,");
    assert_eq!(ctx.sql().migrate(&list).expect_err("it does not decode").kind(), ErrorKind::Decode);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_batch_of_rows_is_bounded_in_rows_and_bytes() {
    use crate::platform::sql::statement::Statement;

    let sizes = |select: &str| {
        let text = format!("with recursive n(x) as (select 1 union all select x + 1 from n where x < 700) {select}");
        let statement = Statement::read(&text, 0).expect("reads");
        let mut sizes = Vec::new();
        let memory = Memory::alone("r1");
        let done = memory.read(&statement, &[], &mut |rows| {
            sizes.push(rows.rows.len());
            sizes.len() < 4
        });
        done.expect("read");
        sizes
    };
    assert_eq!(sizes("select x from n"), [256, 256, 188]);
    assert_eq!(sizes("select zeroblob(100000) from n"), [3, 3, 3, 3]);
    assert_eq!(sizes("select zeroblob(2000000) from n"), [1, 1, 1, 1]);
}
