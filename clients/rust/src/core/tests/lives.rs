//! Random lives of a client: a room that crashes, restarts and forgets, and a network that loses frames.
//!
//! `ROOM_SEEDS=100000` tries more lives, and `ROOM_SEED=7` tells one step by step.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use room_runtime::testing::lives::{Lives, Run};

use super::{
    config,
    room::{Arrival, Random, Step, World},
};
use crate::{
    Close, ConnectError, Overflow, Queue, Reconnect, Status,
    core::{Answer, Codec, Command, Config, Core, Event, Item, Outcome, wire},
    transport::Frame,
};

#[derive(Debug)]
struct Record {
    kind: &'static str,
    end: Option<String>,
}

struct Life {
    world: World,
    core: Core,
    /// The connection that the client uses.
    peer: Option<usize>,
    records: BTreeMap<u64, Record>,
    /// The position of the last message.
    position: Option<u64>,
    gaps: u64,
    messages: u64,
    run: Run,
}

impl Life {
    fn new(run: &Run) -> Self {
        let mut world = World::new(Random(run.seed()));
        let config = Config {
            codec: codec(world.is_packed),
            queue: Queue {
                max: if world.random.chance(20) { 5 } else { 1000 },
                overflow: if world.random.chance(50) { Overflow::Reject } else { Overflow::DropOldest },
            },
            reconnect: Reconnect { base: Duration::from_millis(500), max: Duration::from_secs(5), max_attempts: None },
            ..config()
        };
        let core = Core::new(config, world.now, run.seed());
        let records = BTreeMap::new();
        let mut life =
            Life { world, core, peer: None, records, position: None, gaps: 0, messages: 0, run: run.clone() };
        life.obey();
        life
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        self.run.note(|| format!("{:>8} {}", self.world.now.as_millis(), line()));
    }

    /// Does what the core wants.
    fn obey(&mut self) {
        match self.core.command.take() {
            Some(Command::Connect(protocols)) => {
                self.tell(|| format!("connects with {protocols:?}"));
                self.peer = Some(self.world.connect(protocols));
            }
            Some(Command::Abandon) => {
                if let Some(peer) = self.peer.take() {
                    self.world.abandon(peer);
                }
            }
            Some(Command::Close(..)) => self.peer = None,
            None => {}
        }
        let out: Vec<_> = self.core.outbox.out.drain(..).collect();
        for frame in out {
            match self.peer {
                Some(peer) => self.world.send(peer, frame),
                None => self.world.problems.push(format!("there is no connection for {frame:?}")),
            }
        }
        let ended: Vec<_> = self.core.outbox.ended.drain(..).collect();
        for (id, outcome) in ended {
            self.ended(id, outcome);
        }
        let events: Vec<_> = self.core.events.drain(..).collect();
        for event in events {
            match event {
                Event::Message(message) => self.message(&message),
                Event::Gap { .. } => {
                    self.gaps += 1;
                    self.position = None;
                }
                Event::Status(status) => self.tell(|| format!("{status:?}")),
                other => self.world.problems.push(format!("{other:?}")),
            }
        }
    }

    fn message(&mut self, message: &Frame) {
        let message: serde_json::Value = wire::decode(message).expect("decodes");
        let at = message["at"].as_u64().expect("a position");
        self.tell(|| format!("the message {at}"));
        self.messages += 1;
        if let Some(position) = self.position.filter(|position| at != position + 1) {
            self.world.problems.push(format!("the message {at} follows {position} without a gap"));
        }
        self.position = Some(at);
    }

    fn ended(&mut self, id: u64, outcome: Outcome) {
        let record = self.records.get_mut(&id).expect("it was sent");
        let end = match (record.kind, outcome) {
            ("add", Outcome::Answered(Answer { outcome: Ok(value), .. })) => match wire::decode::<u64>(&value) {
                Ok(value) if value == id * 10 + 1 => "resolved".to_owned(),
                other => format!("the wrong answer {other:?}"),
            },
            ("nothing", Outcome::Answered(Answer { outcome: Ok(value), .. })) => match wire::decode::<()>(&value) {
                Ok(()) => "resolved".to_owned(),
                Err(error) => format!("the wrong answer {error}"),
            },
            ("fail", Outcome::Answered(Answer { outcome: Err(error), .. })) => {
                let error: serde_json::Value = wire::decode(&error).expect("decodes");
                if error["id"] == id { "resolved".to_owned() } else { format!("the wrong error {error}") }
            }
            ("Set" | "Noop" | "Refused" | "Panic", Outcome::Handled) => "resolved".to_owned(),
            (_, Outcome::Failed(error)) => error.code().to_owned(),
            (kind, other) => format!("{kind} with {other:?}"),
        };
        if let Some(before) = record.end.as_ref().filter(|before| *before != "cancelled") {
            self.world.problems.push(format!("{id} has two ends: {before}, {end}"));
        }
        if record.end.is_none() {
            record.end = Some(end.clone());
        }
        let kind = record.kind;
        self.tell(|| format!("{kind} {id} is {end}"));
    }

    fn act(&mut self) {
        let id = self.records.len() as u64 + 1;
        let random = &mut self.world.random;
        let ms = if random.chance(30) { random.below(400) } else { 0 };
        let kinds = ["Noop", "Refused", "Panic", "add", "add", "fail", "nothing"];
        let kind = if random.chance(60) { "Set" } else { kinds[random.below(kinds.len() as u64) as usize] };
        let is_cancelled = random.chance(10);
        let codec = self.core.codec();
        let is_call = kind.starts_with(|c: char| c.is_ascii_lowercase());
        let body = match is_call {
            true => codec.encode_call(kind, &serde_json::json!({ "id": id, "ms": ms, "x": id * 10 })),
            false => codec.encode(&serde_json::json!({ "type": kind, "id": id, "ms": ms })),
        };
        self.tell(|| format!("{kind} {id} is sent"));
        self.records.insert(id, Record { kind, end: None });
        let item = Item { id, body: body.expect("encodes"), call: is_call.then(|| kind.into()) };
        self.core.add(item);
        if is_cancelled {
            self.world.cancel_later(id);
        }
        self.obey();
    }

    fn fault(&mut self) {
        match self.world.random.below(12) {
            0..5 => {
                let Some(peer) = self.peer else { return };
                self.tell(|| "drop".to_owned());
                if self.world.drop_connection(peer) {
                    self.peer = None;
                    self.disconnected(Close::lost(None));
                }
            }
            5..7 => {
                self.tell(|| "crash".to_owned());
                let loses_outcomes = self.world.random.chance(50);
                self.world.crash(loses_outcomes);
            }
            7..9 => {
                self.tell(|| "restart".to_owned());
                self.world.restart();
            }
            9 => {
                if self.world.random.chance(40) {
                    self.tell(|| "forget".to_owned());
                    self.world.forget();
                }
            }
            10 => {
                self.tell(|| "the server is down".to_owned());
                self.world.take_down();
            }
            _ => {
                let codec = self.core.codec();
                let event = codec.encode(&serde_json::json!({ "type": "Noop", "id": 0, "ms": 0 })).expect("encodes");
                let _ = self.core.send_now(codec.join(0, false, &event));
                self.obey();
            }
        }
    }

    /// The client learns of the end of its connection, or of a socket that did not open.
    fn disconnected(&mut self, close: Close) {
        self.core.disconnected(self.world.now, close);
        self.obey();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let (task, deadline) = (self.world.next_time(), self.core.deadline());
            let Some(next) = task.into_iter().chain(deadline).min().filter(|next| *next <= end) else { break };
            self.world.now = self.world.now.max(next);
            if Some(next) == task {
                match self.world.step() {
                    Step::Nothing => {}
                    Step::Cancel(id) => self.cancel(id),
                    Step::Arrival(peer, arrival) if self.peer == Some(peer) => self.arrived(arrival),
                    Step::Arrival(..) => {}
                }
            } else {
                self.core.tick(self.world.now);
            }
            self.obey();
        }
        self.world.now = end;
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = self.world.now;
        match arrival {
            Arrival::Opened => {
                let protocol = self.core.codec().protocol();
                self.core.opened(now, Some(protocol));
            }
            Arrival::Refused => {
                self.peer = None;
                self.core.not_opened(now, ConnectError::network("refused"));
            }
            Arrival::Frame(frame) => self.core.received(now, frame),
            Arrival::Closed(code, reason) => {
                self.peer = None;
                self.disconnected(Close::new(code, reason));
            }
        }
    }

    fn cancel(&mut self, id: u64) {
        self.core.outbox.remove(id);
        let record = self.records.get_mut(&id).expect("it was sent");
        if record.end.is_none() {
            record.end = Some("cancelled".to_owned());
        }
    }

    fn run(mut self) -> Result<BTreeMap<String, u64>, Vec<String>> {
        for mut step in self.run.steps() {
            let random = &mut self.world.random;
            // The network draws from it too, for as long as the step takes.
            *random = Random(step.dice.below(u64::MAX));
            let burst = match (random.chance(20), random.chance(70)) {
                (true, _) => random.below(20),
                (false, is_one) => u64::from(is_one),
            };
            (0..burst).for_each(|_| self.act());
            if self.world.random.chance(25) {
                self.fault();
                self.obey();
            }
            if self.world.random.chance(30) {
                self.world.broadcast();
            }
            let random = &mut self.world.random;
            let ms = if random.chance(10) { random.below(30_000) } else { random.below(400) };
            self.pass(Duration::from_millis(ms));
        }
        self.world.bring_up();
        self.pass(Duration::from_secs(240));
        self.world.broadcast();
        self.pass(Duration::from_secs(1));
        self.check()
    }

    fn check(mut self) -> Result<BTreeMap<String, u64>, Vec<String>> {
        let mut problems = std::mem::take(&mut self.world.problems);
        let mut is = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        is(
            matches!(self.core.status(), Status::Open { .. }),
            format!("the client is {:?} at the end", self.core.status()),
        );
        is(self.core.outbox.len() == 0, format!("{} have no outcome at the end", self.core.outbox.len()));
        let last = self.world.position;
        is(self.position == Some(last), format!("the last message is {:?} of {last}", self.position));
        is(self.world.stored.is_sorted(), format!("handled out of order: {:?}", self.world.stored));
        let mut applied = BTreeMap::<u64, u64>::new();
        for id in &self.world.stored {
            *applied.entry(*id).or_default() += 1;
        }
        let mut counts = BTreeMap::from([("messages".to_owned(), self.messages), ("gaps".to_owned(), self.gaps)]);
        for (id, Record { kind, end }) in &self.records {
            let times = applied.get(id).copied().unwrap_or(0);
            let end = end.as_deref().unwrap_or("pending");
            *counts.entry(end.to_owned()).or_default() += 1;
            let changes = matches!(*kind, "Set" | "add");
            is(times <= 1, format!("{kind} {id} was applied {times} times"));
            is(
                !changes || end != "resolved" || times == 1,
                format!("{kind} {id} is resolved and applied {times} times"),
            );
            let was_not_applied = ["refused", "queue_full", "queue_dropped", "restarted"].contains(&end);
            is(!was_not_applied || times == 0, format!("{kind} {id} is {end} and was applied"));
            let known =
                ["resolved", "cancelled", "session_lost", "refused", "queue_full", "queue_dropped", "restarted"];
            is(known.contains(&end), format!("{kind} {id} is {end}"));
            is(end != "refused" || *kind == "Refused", format!("{kind} {id} was refused"));
        }
        self.core.close(Close::new(1000, ""));
        is(self.core.deadline().is_none(), "timers are left after the close".to_owned());
        if problems.is_empty() { Ok(counts) } else { Err(problems) }
    }
}

#[cfg(feature = "msgpack")]
fn codec(is_packed: bool) -> Codec {
    if is_packed { Codec::MessagePack } else { Codec::Json }
}

#[cfg(not(feature = "msgpack"))]
fn codec(_: bool) -> Codec {
    Codec::Json
}

#[test]
fn each_event_is_applied_once_and_each_gap_is_told() {
    let lives = Lives { command: "cargo test -p room-client --lib lives", seeds: 1_000, steps: 50 };
    let total = RefCell::new(BTreeMap::<String, u64>::new());
    let is_complete = lives.run(|run| match Life::new(run).run() {
        Ok(counts) => {
            counts.into_iter().for_each(|(name, count)| *total.borrow_mut().entry(name).or_default() += count)
        }
        Err(problems) => panic!("{problems:#?}"),
    });
    let total = total.into_inner();
    println!("{total:?}");
    if !is_complete {
        return;
    }
    // Lives in which something never happens would not test it.
    for name in ["resolved", "cancelled", "session_lost", "refused", "queue_full", "queue_dropped", "restarted", "gaps"]
    {
        assert!(total.get(name).is_some_and(|count| *count > 0), "no life has `{name}`: {total:?}");
    }
}
