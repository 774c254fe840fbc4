//! Promises of `room.v1` that hold for any order of events: each event that was acknowledged was handled once, none was
//! handled twice, and the events of a client were handled in the order of their numbers. Calls are such events, and each has its
//! answer. Between two gaps a client has got each message that was for it, once and in order.
//!
//! Each seed is a life of three clients through lost connections and frames, crashes, hibernation and restarts.
//! `ROOM_SEED=… cargo test -p room-runtime --test sessions` repeats one and tells it. `ROOM_SEEDS=…` sets the number of seeds.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use room_runtime::{
    Upgrade,
    testing::{
        TestPeer, TestRoom, World,
        lives::{Dice, Lives, Run},
    },
};
use serde_json::{Value, json};

macro_rules! ledger {
    ($(#[$doc:meta])* $name:ident($($options:tt)*) $($on_away:item)?) => {
        $(#[$doc])*
        #[room_runtime::room($($options)*)]
        mod $name {
            use std::{collections::BTreeMap, time::Duration};

            use room_runtime::prelude::*;

            #[derive(Default)]
            pub struct State {
                /// The events of each client, in the order in which they were handled.
                pub put: BTreeMap<String, Vec<u64>>,
                /// The receivers of each message: `not NAME`, `only NAME`, or all.
                pub sent: Vec<String>,
            }

            pub struct Connection {}

            pub enum Event {
                Put { client: String, event: u64, wait_ms: u64, end: String },
            }

            pub enum Broadcast {
                Done { index: u64 },
            }

            pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
                peer.subscribe("all")?;
                Ok(())
            }

            $($on_away)?

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                let Event::Put { client, event, wait_ms, end } = event;
                handle(ctx, client, event, wait_ms, end).await
            }

            #[call]
            pub async fn put(ctx: &Ctx, client: String, event: u64, wait_ms: u64, end: String) -> Result<u64> {
                handle(ctx, client, event, wait_ms, end).await?;
                Ok(event)
            }

            async fn handle(ctx: &Ctx, client: String, event: u64, wait_ms: u64, end: String) -> Result {
                if wait_ms > 0 {
                    ctx.sleep(Duration::from_millis(wait_ms)).await;
                }
                match &*end {
                    "fail" => return Err(Failure::msg("it fails")),
                    "refuse" => return Err(ctx.refuse("no").into()),
                    "panic" => panic!("the event's own"),
                    _ => {}
                }
                let index = ctx.state()?.sent.len() as u64;
                let message = Broadcast::Done { index };
                // The receivers of the message, unless it is sent later or may fail.
                let receivers = match event % 6 {
                    1 => Some(format!("not {client}")),
                    3 => Some(format!("only {client}")),
                    4 | 5 => None,
                    _ => Some(String::new()),
                };
                ctx.update(|state| {
                    state.sent.extend(receivers);
                    state.put.entry(client.clone()).or_default().push(event);
                })?;
                match event % 6 {
                    1 => drop(ctx.peers().filter(|peer| peer.id().as_str() != client).send(&message)?),
                    2 => drop(ctx.topic("all").send(&message)?),
                    3 => drop(ctx.peers().with_id(&client).send(&message)?),
                    4 => {
                        if ctx.sender().is_some_and(|peer| peer.send(&message).is_ok()) {
                            ctx.update(|state| state.sent.push(format!("only {client}")))?;
                        }
                    }
                    5 => {
                        ctx.spawn(async move |ctx| {
                            ctx.sleep(Duration::from_millis(wait_ms)).await;
                            let index = ctx.state()?.sent.len() as u64;
                            ctx.update(|state| state.sent.push(String::new()))?;
                            ctx.broadcast(&Broadcast::Done { index })?;
                            Ok(())
                        });
                    }
                    _ => drop(ctx.broadcast(&message)?),
                }
                Ok(())
            }
        }
    };
}

/// A ledger that sends a message to each peer that is away.
macro_rules! kept_ledger {
    ($(#[$doc:meta])* $name:ident($($options:tt)*)) => {
        ledger! {
            $(#[$doc])*
            $name(reconnect_grace = "20s", $($options)*)

            pub fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
                let (index, id) = (ctx.state()?.sent.len() as u64, peer.id());
                peer.send(&Broadcast::Done { index })?;
                ctx.update(|state| state.sent.push(format!("only {id}")))?;
                Ok(())
            }
        }
    };
}

ledger! {
    /// A room whose clients are new peers when they come back.
    plain()
}

kept_ledger! {
    /// A room that keeps the places of its peers.
    graceful()
}

kept_ledger! {
    /// A room that also replays what its peers have missed.
    logged(replay(messages = 100))
}

kept_ledger! {
    /// A room whose log is often too short.
    forgetful(replay(messages = 4))
}

ledger! {
    /// A room whose log forgets by age, and whose places end soon.
    brief(reconnect_grace = "1s", replay(messages = 20, age = "5s"))
}

kept_ledger! {
    /// A room that sends in batches, and whose log is bounded in bytes.
    batched(replay(messages = 1000, bytes = 300), batch = "5ms")
}

/// The messages that a client got since its last gap.
#[derive(Clone, Debug)]
struct Stretch {
    /// The messages that the room had sent before and after the connection was made.
    begun: (usize, usize),
    got: Vec<u64>,
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
    /// True if the welcome of the present connection was read.
    is_welcomed: bool,
    /// The position of the last message.
    at: u64,
    stretches: Vec<Stretch>,
    /// The number of messages before and after the present connection was made.
    connected: (usize, usize),
}

/// The number of messages that the room has sent.
fn sent<R: room_runtime::Room>(room: &TestRoom<R>) -> usize {
    let stored = room.stored_state().map_or(Value::Null, |json| serde_json::from_str(&json).expect("JSON"));
    stored["sent"].as_array().map_or(0, Vec::len)
}

impl<R: room_runtime::Room> Client<R> {
    fn send(&mut self, wait_ms: u64, end: &str) {
        let number = self.next;
        self.next += 1;
        let mut event = json!({ "client": self.name, "event": number, "wait_ms": wait_ms, "end": end });
        let is_call = number.is_multiple_of(3);
        if !is_call {
            event["type"] = "Put".into();
        }
        self.unsettled.push_back((number, event));
        self.transmit(number);
    }

    /// Sends every event without an outcome from this number on.
    fn transmit(&self, from: u64) {
        let Some(peer) = self.peer.as_ref().filter(|_| self.is_welcomed) else { return };
        let lowest = self.unsettled.front().map_or(self.next, |(number, _)| *number);
        if lowest > from {
            peer.send_raw(format!(r#"{{"from":{lowest}}}"#));
        }
        for (number, event) in self.unsettled.iter().filter(|(number, _)| *number >= from) {
            peer.send_raw(match event.get("type") {
                Some(_) => format!("[{number},{event}]"),
                None => format!("[{number},\"put\",{event}]"),
            });
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
        let offer = self
            .token
            .as_ref()
            .map(|token| format!(", room.v1.resume.{token}.{lowest}.{at}", at = self.at))
            .unwrap_or_default();
        let request = http::Request::get("/").header("sec-websocket-protocol", format!("room.v1{offer}"));
        let request = request.body(()).expect("a request");
        self.is_welcomed = false;
        let before = sent(room);
        self.peer = room.try_connect_with(request, Upgrade::new(data).id(&*self.name)).ok();
        self.connected = (before, sent(room));
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
            let controls = frame[0].as_array().expect("controls").clone();
            let (welcome, others): (Vec<_>, Vec<_>) =
                controls.into_iter().partition(|control| control.get("welcome").is_some());
            welcome.iter().for_each(|control| self.obey(control));
            let stretch = self.stretches.last_mut().expect("the first frame is a welcome");
            stretch.got.extend(frame[1..].iter().map(|message| message["index"].as_u64().expect("a message")));
            others.iter().for_each(|control| self.obey(control));
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
            self.is_welcomed = true;
            if welcome["gap"] == true || welcome["resumed"] == false {
                self.at = welcome["at"].as_u64().unwrap_or(0);
                self.stretches.push(Stretch { begun: self.connected, got: Vec::new() });
            }
            self.transmit(last.expect("a number") + 1);
        } else if let Some(number) = control.get("ack").and_then(Value::as_u64) {
            while let Some((lowest, _)) = self.unsettled.front()
                && *lowest <= number
            {
                let is_call = lowest % 3 == 0;
                assert!(!is_call, "{}: call {lowest} has no answer", self.name);
                self.settle(*lowest, Outcome::Acknowledged);
            }
        } else if let Some(answer) = control.get("answer") {
            let number = answer["n"].as_u64().expect("a number");
            assert_eq!(answer["value"], number, "{}: {control}", self.name);
            self.settle(number, Outcome::Acknowledged);
        } else if let Some(at) = control.get("at").and_then(Value::as_u64) {
            assert!(at > self.at, "{}: position {at} after {}", self.name, self.at);
            self.at = at;
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

struct Life<R: room_runtime::Room> {
    world: World,
    room: TestRoom<R>,
    dice: Dice,
    clients: Vec<Client<R>>,
    data: fn() -> R::Connection,
    run: Run,
}

impl<R: room_runtime::Room> Life<R> {
    fn new(run: &Run, data: fn() -> R::Connection) -> Self {
        let world = run.world();
        let room = world.room("ledger");
        let client = |name: &str| Client {
            name: name.to_owned(),
            peer: None,
            token: None,
            next: 1,
            unsettled: VecDeque::new(),
            outcomes: BTreeMap::new(),
            is_welcomed: false,
            at: 0,
            stretches: Vec::new(),
            connected: (0, 0),
        };
        let clients = ["ann", "bob", "cat"].map(client).into();
        Life { world, room, dice: Dice::new(run.seed()), clients, data, run: run.clone() }
    }

    fn chance(&mut self, n: u64) -> u64 {
        self.dice.below(n)
    }

    fn note(&self, step: impl FnOnce() -> String) {
        self.run.note(step);
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
                let ms = if self.chance(40) == 0 { 21_000 } else { self.chance(25) };
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
        for at in 0..3 {
            // Frames that are not read by then are lost with the connection.
            if self.chance(4) > 0 {
                self.clients[at].listen();
            }
        }
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
                // A handler of a lost connection can still run.
                self.world.advance(Duration::from_secs(1));
                return self.listen();
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
            let sent = stored["sent"].as_array().cloned().unwrap_or_default();
            for (at, stretch) in client.stretches.iter().enumerate() {
                let is_last = at + 1 == client.stretches.len();
                let wanted = |from: usize| -> Vec<u64> {
                    let all = sent.iter().enumerate().skip(from);
                    let is_for = |receivers: &Value| match receivers.as_str().unwrap_or_default().split_once(' ') {
                        Some(("not", name)) => name != client.name,
                        Some((_, name)) => name == client.name,
                        None => true,
                    };
                    all.filter(|(_, receivers)| is_for(receivers)).map(|(index, _)| index as u64).collect()
                };
                let is_right = |from: usize| match is_last {
                    true => wanted(from) == stretch.got,
                    false => wanted(from).starts_with(&stretch.got),
                };
                let (first, last) = stretch.begun;
                let right = (first..=last).any(is_right);
                assert!(right, "{}: {stretch:?}, is last: {is_last}, of {:?}", client.name, wanted(first));
            }
        }
    }
}

fn live<R: room_runtime::Room>(run: &Run, data: fn() -> R::Connection) {
    let mut life = Life::<R>::new(run, data);
    for step in run.steps() {
        life.dice = step.dice;
        life.step();
    }
    life.finish();
    life.check();
}

/// A test of a room. Its name selects it among those of this file.
macro_rules! lives {
    ($name:ident, $room:ident) => {
        #[test]
        fn $name() {
            let command = concat!("cargo test -p room-runtime --test sessions ", stringify!($name));
            Lives { command, seeds: 300, steps: 60 }.run(|run| live::<$room::Room>(run, || $room::Connection {}));
        }
    };
}

lives!(no_event_is_lost_or_handled_twice_in_a_room_without_a_grace, plain);
lives!(no_event_is_lost_or_handled_twice_in_a_room_with_a_grace, graceful);
lives!(no_message_is_missed_or_repeated_in_a_room_with_a_log, logged);
lives!(each_message_that_is_missed_is_after_a_gap_in_a_room_with_a_short_log, forgetful);
lives!(each_message_that_is_missed_is_after_a_gap_in_a_room_whose_log_forgets_by_age, brief);
lives!(each_message_that_is_missed_is_after_a_gap_in_a_room_with_batches, batched);
