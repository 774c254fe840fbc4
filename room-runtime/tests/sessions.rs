//! Promises of `room.v1` that hold for any order of events: each event that was acknowledged was handled once, none was
//! handled twice, and the events of a client were handled in the order of their numbers.
//!
//! Each seed is a run of three clients through lost connections, crashes, hibernation and restarts. A seed that fails is
//! printed, and `ROOM_SEED=… cargo test -p room-runtime --test sessions` runs it again and prints its steps.
//! `ROOM_SEEDS=…` sets the number of seeds.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use room_runtime::{
    Upgrade,
    testing::{TestPeer, TestRoom, World},
};
use serde_json::{Value, json};

const SEEDS: u64 = 300;
const STEPS: usize = 60;

macro_rules! ledger {
    ($(#[$doc:meta])* $name:ident($($options:tt)*)) => {
        $(#[$doc])*
        #[room_runtime::room($($options)*)]
        mod $name {
            use std::{collections::BTreeMap, time::Duration};

            use room_runtime::prelude::*;

            #[derive(Default)]
            pub struct State {
                /// The events of each client, in the order in which they were handled.
                pub put: BTreeMap<String, Vec<u64>>,
            }

            pub struct Connection {}

            pub enum Event {
                Put { client: String, event: u64, wait_ms: u64, end: String },
            }

            pub enum Broadcast {
                Done { event: u64 },
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                let Event::Put { client, event, wait_ms, end } = event;
                if wait_ms > 0 {
                    ctx.sleep(Duration::from_millis(wait_ms)).await;
                }
                match &*end {
                    "fail" => return Err(Failure::msg("it fails")),
                    "refuse" => return Err(ctx.refuse("no").into()),
                    "panic" => panic!("the event's own"),
                    _ => {}
                }
                ctx.update(|state| state.put.entry(client).or_default().push(event))?;
                ctx.broadcast(&Broadcast::Done { event })?;
                Ok(())
            }
        }
    };
}

ledger! {
    /// A room whose clients are new peers when they come back.
    plain()
}

ledger! {
    /// A room that keeps the places of its peers.
    graceful(reconnect_grace = "20s")
}

/// The outcome of an event, for the client that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// It failed in a way that leaves nothing behind.
    Failed,
    /// The room crashed while it was handled.
    Restarted,
}

/// A client of `room.v1`, as docs/protocol.md describes it.
struct Client<R: room_runtime::Room> {
    name: String,
    peer: Option<TestPeer<R>>,
    token: Option<String>,
    /// The number of the next event.
    next: u64,
    /// The events without an outcome, with their numbers.
    unsettled: VecDeque<(u64, Value)>,
    outcomes: BTreeMap<u64, Outcome>,
}

impl<R: room_runtime::Room> Client<R> {
    fn send(&mut self, wait_ms: u64, end: &str) {
        let number = self.next;
        self.next += 1;
        let event = json!({ "type": "Put", "client": self.name, "event": number, "wait_ms": wait_ms, "end": end });
        self.unsettled.push_back((number, event));
        self.transmit(number);
    }

    /// Sends every event without an outcome from this number on.
    fn transmit(&self, from: u64) {
        let Some(peer) = &self.peer else { return };
        let lowest = self.unsettled.front().map_or(self.next, |(number, _)| *number);
        if lowest > from {
            peer.send_raw(format!(r#"{{"from":{lowest}}}"#));
        }
        for (number, event) in self.unsettled.iter().filter(|(number, _)| *number >= from) {
            peer.send_raw(format!("[{number},{event}]"));
        }
    }

    fn settle(&mut self, number: u64, outcome: Outcome) {
        if let Some(at) = self.unsettled.iter().position(|(other, _)| *other == number) {
            self.unsettled.remove(at);
            self.outcomes.insert(number, outcome);
        }
    }

    fn connect(&mut self, room: &TestRoom<R>, data: R::Connection) {
        self.disconnect();
        let lowest = self.unsettled.front().map_or(self.next, |(number, _)| *number);
        let offer = self.token.as_ref().map(|token| format!(", room.v1.resume.{token}.{lowest}.0")).unwrap_or_default();
        let request = http::Request::get("/").header("sec-websocket-protocol", format!("room.v1{offer}"));
        let request = request.body(()).expect("a request");
        self.peer = room.try_connect_with(request, Upgrade::new(data).id(&*self.name)).ok();
    }

    fn disconnect(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.disconnect();
        }
    }

    /// Reads what has arrived.
    fn listen(&mut self) {
        while let Some(text) = self.peer.as_ref().and_then(TestPeer::receive_raw) {
            let frame: Vec<Value> = serde_json::from_str(&text).expect("a list");
            for control in frame[0].as_array().expect("controls").clone() {
                self.obey(&control);
            }
        }
        if self.peer.as_ref().is_some_and(|peer| !peer.is_open()) {
            self.peer = None;
        }
    }

    fn obey(&mut self, control: &Value) {
        if let Some(welcome) = control.get("welcome") {
            let (session, last) = (welcome["session"].as_str().expect("a token"), welcome["last"].as_u64());
            assert_eq!(welcome["resumed"], self.token.is_some(), "{}: {control}", self.name);
            self.token = Some(session.to_owned());
            self.transmit(last.expect("a number") + 1);
        } else if let Some(number) = control.get("ack").and_then(Value::as_u64) {
            while let Some((lowest, _)) = self.unsettled.front()
                && *lowest <= number
            {
                self.settle(*lowest, Outcome::Acknowledged);
            }
        } else if let Some(number) = control.get("resend").and_then(Value::as_u64) {
            self.transmit(number);
        } else if let Some(error) = control.get("error") {
            let number = error["n"].as_u64().unwrap_or_else(|| panic!("{}: {control}", self.name));
            let outcome = if error["code"] == "restarted" { Outcome::Restarted } else { Outcome::Failed };
            self.settle(number, outcome);
        } else {
            panic!("{}: {control}", self.name);
        }
    }
}

struct Run<R: room_runtime::Room> {
    world: World,
    room: TestRoom<R>,
    random: u64,
    clients: Vec<Client<R>>,
    data: fn() -> R::Connection,
    steps: RefCell<Option<Vec<String>>>,
}

impl<R: room_runtime::Room> Run<R> {
    fn new(seed: u64, is_printed: bool, data: fn() -> R::Connection) -> Self {
        let world = World::with_seed(seed);
        let room = world.room("ledger");
        let client = |name: &str| Client {
            name: name.to_owned(),
            peer: None,
            token: None,
            next: 1,
            unsettled: VecDeque::new(),
            outcomes: BTreeMap::new(),
        };
        let clients = ["ann", "bob", "cat"].map(client).into();
        Run { world, room, random: seed, clients, data, steps: RefCell::new(is_printed.then(Vec::new)) }
    }

    fn chance(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    fn note(&self, step: impl FnOnce() -> String) {
        if let Some(steps) = &mut *self.steps.borrow_mut() {
            steps.push(step());
        }
    }

    fn step(&mut self) {
        let at = self.chance(3) as usize;
        match self.chance(24) {
            0..2 => {
                self.note(|| format!("{at} disconnects"));
                self.clients[at].disconnect();
            }
            2..5 => {
                self.note(|| format!("{at} connects"));
                self.clients[at].connect(&self.room, (self.data)());
            }
            5..9 => {
                let ms = self.chance(25);
                self.note(|| format!("advance {ms}"));
                self.world.advance(Duration::from_millis(ms));
            }
            9 if !self.room.is_busy() => {
                self.note(|| "hibernate".to_owned());
                self.room.hibernate();
            }
            10 => {
                self.note(|| "crash".to_owned());
                self.room.crash();
            }
            11 if self.chance(2) == 0 => {
                self.note(|| "restart".to_owned());
                self.room.restart();
            }
            _ => {
                for _ in 0..=self.chance(3) {
                    let wait_ms = if self.chance(2) == 0 { 0 } else { self.chance(20) };
                    let end = ["", "", "", "", "", "", "fail", "refuse", "panic"][self.chance(9) as usize];
                    self.note(|| format!("{at} sends {}, waits {wait_ms}, {end}", self.clients[at].next));
                    self.clients[at].send(wait_ms, end);
                }
            }
        }
        self.listen();
    }

    fn listen(&mut self) {
        for client in &mut self.clients {
            client.listen();
        }
    }

    /// Connects every client until each event has its outcome.
    fn finish(&mut self) {
        for round in 0.. {
            for at in 0..3 {
                if self.clients[at].peer.is_none() {
                    self.clients[at].connect(&self.room, (self.data)());
                }
            }
            self.listen();
            if self.clients.iter().all(|client| client.unsettled.is_empty()) {
                return;
            }
            self.world.advance(Duration::from_millis(50));
            self.listen();
            let left: Vec<_> = self.clients.iter().map(|client| &client.unsettled).collect();
            assert!(round < 500, "events without an outcome: {left:?}");
        }
    }

    fn check(&self) {
        let stored = self.room.stored_state().map_or(Value::Null, |json| serde_json::from_str(&json).expect("JSON"));
        for client in &self.clients {
            let put = stored["put"][&client.name].as_array().cloned().unwrap_or_default();
            let put: Vec<u64> = put.iter().filter_map(Value::as_u64).collect();
            assert!(put.is_sorted_by(|a, b| a < b), "{}: out of order, or twice: {put:?}", client.name);
            for (event, outcome) in &client.outcomes {
                match outcome {
                    Outcome::Acknowledged => assert!(put.contains(event), "{}: {event} is not there", client.name),
                    Outcome::Failed => assert!(!put.contains(event), "{}: {event} failed and is there", client.name),
                    Outcome::Restarted => {}
                }
            }
        }
    }
}

fn run<R: room_runtime::Room>(seed: u64, is_printed: bool, data: fn() -> R::Connection) {
    let run = RefCell::new(Run::<R>::new(seed, is_printed, data));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut run = run.borrow_mut();
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
        run.check();
    }));
    if let Err(panic) = outcome {
        if let Some(steps) = run.borrow().steps.borrow().as_ref() {
            eprintln!("{}", steps.join("\n"));
        }
        eprintln!("run it again with ROOM_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

fn runs<R: room_runtime::Room>(data: fn() -> R::Connection) {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = number("ROOM_SEED") {
        return run::<R>(seed, true, data);
    }
    for seed in 0..number("ROOM_SEEDS").unwrap_or(SEEDS) {
        run::<R>(seed, false, data);
    }
}

#[test]
fn no_event_is_lost_or_handled_twice_in_a_room_without_a_grace() {
    runs::<plain::Room>(|| plain::Connection {});
}

#[test]
fn no_event_is_lost_or_handled_twice_in_a_room_with_a_grace() {
    runs::<graceful::Room>(|| graceful::Connection {});
}
