//! A model of a room and of a network, in virtual time.
//!
//! `stored`, `sessions` and `position` survive everything; a crash and a restart lose the rest. The room also checks what a
//! real one need not check: that a client keeps to the window, and that a number has one meaning.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};

use crate::transport::Frame;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A thing that the network brings to the client.
#[derive(Debug)]
pub(super) enum Arrival {
    Opened,
    Refused,
    Frame(Frame),
    Closed(u16, String),
}

enum Task {
    Upgrade(usize, Vec<String>),
    ToRoom(usize, Frame),
    ToClient(usize, Arrival),
    RoomLoses(usize),
    HandlerEnds { incarnation: u64, token: String, number: u64, values: Vec<Value> },
    Flush(usize),
    ServerIsUp,
    Cancel(u64),
}

/// The meaning of a step of the world for the client.
pub(super) enum Step {
    Nothing,
    Arrival(usize, Arrival),
    Cancel(u64),
}

struct Session {
    last: u64,
    outcomes: BTreeMap<u64, Value>,
}

/// A session in memory.
struct Live {
    /// Higher than the stored one after events that changed nothing.
    last: u64,
    queue: VecDeque<Work>,
    is_busy: bool,
    running: Option<u64>,
    peer: Option<usize>,
    has_place: bool,
    lost_at: Duration,
    /// The position at which the place began: it was not addressed before that.
    since: u64,
}

enum Work {
    Resume(usize, u64, u64),
    Frame(usize, Value),
}

/// A connection, and the room's end of it.
#[derive(Default)]
struct Peer {
    token: Option<String>,
    controls: Vec<Value>,
    messages: Vec<Value>,
    at: Option<u64>,
    is_waiting: bool,
    is_closed: bool,
    /// The highest number that the client was told to be settled.
    told: u64,
    has_asked: bool,
    /// Nothing passes any more.
    is_down: bool,
    to_room: Duration,
    to_client: Duration,
}

struct Entry {
    at: u64,
    to: BTreeSet<String>,
    message: Value,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) random: Random,
    tasks: BTreeMap<(Duration, u64), Task>,
    next_task: u64,
    peers: Vec<Peer>,
    is_up: bool,

    pub(super) is_packed: bool,
    window: u64,
    replay: Option<usize>,
    grace: Duration,
    gathers: bool,

    /// The ids of the changes, in order.
    pub(super) stored: Vec<u64>,
    pub(super) position: u64,
    sessions: BTreeMap<String, Session>,
    live: BTreeMap<String, Live>,
    log: Vec<Entry>,
    tokens: u64,
    incarnation: u64,
    meaning: HashMap<(String, u64), String>,
    highest: HashMap<String, u64>,
    pub(super) problems: Vec<String>,
}

const MS: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn new(mut random: Random) -> Self {
        World {
            now: Duration::ZERO,
            tasks: BTreeMap::new(),
            next_task: 0,
            peers: Vec::new(),
            is_up: true,
            is_packed: cfg!(feature = "msgpack") && random.chance(30),
            window: 1 + random.below(8),
            replay: if random.chance(70) { Some(3 + random.below(60) as usize) } else { None },
            grace: Duration::from_secs(random.below(3) * 20),
            gathers: random.chance(50),
            stored: Vec::new(),
            position: 0,
            sessions: BTreeMap::new(),
            live: BTreeMap::new(),
            log: Vec::new(),
            tokens: 0,
            incarnation: 0,
            meaning: HashMap::new(),
            highest: HashMap::new(),
            problems: Vec::new(),
            random,
        }
    }

    fn at(&mut self, time: Duration, task: Task) {
        self.next_task += 1;
        self.tasks.insert((time, self.next_task), task);
    }

    fn latency(&mut self) -> Duration {
        MS * (1 + self.random.below(200) as u32)
    }

    pub(super) fn next_time(&self) -> Option<Duration> {
        self.tasks.keys().next().map(|(time, _)| *time)
    }

    pub(super) fn cancel_later(&mut self, id: u64) {
        let time = self.now + MS * self.random.below(300) as u32;
        self.at(time, Task::Cancel(id));
    }

    /// Does what is due first.
    pub(super) fn step(&mut self) -> Step {
        let Some((_, task)) = self.tasks.pop_first() else { return Step::Nothing };
        match task {
            Task::Upgrade(peer, protocols) => {
                if self.peers[peer].is_down {
                    return Step::Nothing;
                }
                if !self.is_up || self.random.chance(10) {
                    self.peers[peer].is_down = true;
                    return Step::Arrival(peer, Arrival::Refused);
                }
                self.deliver(peer, Arrival::Opened);
                self.upgraded(peer, &protocols);
            }
            Task::ToRoom(peer, frame) => {
                if !self.peers[peer].is_down {
                    self.receive(peer, frame);
                }
            }
            Task::ToClient(peer, arrival) => {
                if self.peers[peer].is_down {
                    return Step::Nothing;
                }
                if let Arrival::Closed(..) = arrival {
                    self.peers[peer].is_down = true;
                }
                return Step::Arrival(peer, arrival);
            }
            Task::RoomLoses(peer) => self.lost(peer),
            Task::HandlerEnds { incarnation, token, number, values } => {
                // A handler that ran in a room that is gone has no effect.
                if incarnation == self.incarnation {
                    self.handled(&token, number, &values);
                }
            }
            Task::Flush(peer) => {
                self.peers[peer].is_waiting = false;
                self.flush(peer);
            }
            Task::ServerIsUp => self.is_up = true,
            Task::Cancel(id) => return Step::Cancel(id),
        }
        Step::Nothing
    }

    // The client's end.

    pub(super) fn connect(&mut self, protocols: Vec<String>) -> usize {
        self.peers.push(Peer::default());
        let peer = self.peers.len() - 1;
        let time = self.now + self.latency();
        self.at(time, Task::Upgrade(peer, protocols));
        peer
    }

    pub(super) fn send(&mut self, peer: usize, frame: Frame) {
        let time = self.peers[peer].to_room.max(self.now + self.latency());
        self.peers[peer].to_room = time;
        self.at(time, Task::ToRoom(peer, frame));
    }

    /// The client leaves the connection. The room may never notice.
    pub(super) fn abandon(&mut self, peer: usize) {
        self.peers[peer].is_down = true;
        if self.random.chance(60) {
            let time = self.now + self.latency();
            self.at(time, Task::RoomLoses(peer));
        }
    }

    /// Ends a connection in the network. Frames on their way are lost. Returns true if the client notices.
    pub(super) fn drop_connection(&mut self, peer: usize) -> bool {
        if self.peers[peer].is_down {
            return false;
        }
        self.peers[peer].is_down = true;
        if self.random.chance(60) {
            self.lost(peer);
        }
        self.random.chance(80)
    }

    // The server.

    pub(super) fn take_down(&mut self) {
        self.is_up = false;
        let time = self.now + MS * self.random.below(20_000) as u32;
        self.at(time, Task::ServerIsUp);
        self.restart();
    }

    pub(super) fn bring_up(&mut self) {
        self.is_up = true;
    }

    /// The memory is lost, the sockets are not. Outcomes that were not written yet can be lost too.
    pub(super) fn crash(&mut self, loses_outcomes: bool) {
        self.incarnation += 1;
        for (token, live) in std::mem::take(&mut self.live) {
            let again = self.wake(&token);
            again.has_place = live.has_place;
            again.lost_at = live.lost_at;
            again.since = live.since;
            again.peer = live.peer;
            if let Some(peer) = live.peer {
                self.peers[peer].has_asked = false;
                if loses_outcomes {
                    // The next `ack` would cover the numbers whose own outcome is lost: so these come first, again.
                    let outcomes: Vec<_> = self.sessions[&token].outcomes.values().cloned().collect();
                    let peer = &mut self.peers[peer];
                    peer.controls.retain(|control| control.get("welcome").is_some());
                    peer.controls.extend(outcomes);
                }
                if !loses_outcomes || !self.peers[peer].messages.is_empty() {
                    self.flush(peer);
                }
            }
            if let Some(n) = live.running {
                let error = json!({ "error": { "n": n, "code": "restarted", "message": "the room restarted" } });
                self.settle(&token, n, Some(error), true);
            }
        }
    }

    /// The process ends, with its memory and its sockets.
    pub(super) fn restart(&mut self) {
        self.incarnation += 1;
        let before = std::mem::take(&mut self.live);
        for peer in 0..self.peers.len() {
            self.close(peer, 1006, "");
        }
        for (token, live) in before {
            let now = self.now;
            let again = self.wake(&token);
            again.has_place = live.has_place;
            again.lost_at = if live.peer.is_some() { now } else { live.lost_at };
            again.since = live.since;
        }
    }

    /// Forgets every session, as a purge does.
    pub(super) fn forget(&mut self) {
        self.incarnation += 1;
        for peer in 0..self.peers.len() {
            self.close(peer, 1001, "");
        }
        self.sessions.clear();
        self.live.clear();
    }

    /// Sends a message to every peer.
    pub(super) fn broadcast(&mut self) {
        self.position += 1;
        let at = self.position;
        let message = json!({ "type": "Told", "at": at });
        let mut to = BTreeSet::new();
        let tokens: Vec<_> = self.live.keys().cloned().collect();
        for token in tokens {
            if !self.keeps_place(&token) {
                continue;
            }
            if let Some(peer) = self.live[&token].peer {
                self.peers[peer].messages.push(message.clone());
                self.peers[peer].at = Some(at);
                self.flush_soon(peer);
            }
            to.insert(token);
        }
        self.log.push(Entry { at, to, message });
        let surplus = self.log.len().saturating_sub(self.replay.unwrap_or(0));
        self.log.drain(..surplus);
    }

    // The room.

    fn deliver(&mut self, peer: usize, arrival: Arrival) {
        let time = self.peers[peer].to_client.max(self.now + self.latency());
        self.peers[peer].to_client = time;
        self.at(time, Task::ToClient(peer, arrival));
    }

    fn close(&mut self, peer: usize, code: u16, reason: &str) {
        if self.peers[peer].is_closed {
            return;
        }
        self.lost(peer);
        self.deliver(peer, Arrival::Closed(code, reason.to_owned()));
    }

    fn lost(&mut self, peer: usize) {
        if std::mem::replace(&mut self.peers[peer].is_closed, true) {
            return;
        }
        let now = self.now;
        let live = self.peers[peer].token.as_ref().and_then(|token| self.live.get_mut(token));
        if let Some(live) = live.filter(|live| live.peer == Some(peer)) {
            live.peer = None;
            live.lost_at = now;
        }
    }

    fn wake(&mut self, token: &str) -> &mut Live {
        let (now, last) = (self.now, self.sessions[token].last);
        self.live.entry(token.to_owned()).or_insert_with(|| Live {
            last,
            queue: VecDeque::new(),
            is_busy: false,
            running: None,
            peer: None,
            has_place: false,
            lost_at: now,
            since: 0,
        })
    }

    fn live(&mut self, token: &str) -> &mut Live {
        self.live.get_mut(token).expect("the session is in memory")
    }

    fn keeps_place(&mut self, token: &str) -> bool {
        let (now, grace) = (self.now, self.grace);
        let live = self.live(token);
        if live.peer.is_none() && now > live.lost_at + grace {
            live.has_place = false;
        }
        live.has_place
    }

    fn seat(&mut self, token: &str, peer: usize) {
        let position = self.position;
        let live = self.live(token);
        if !live.has_place {
            live.since = position;
        }
        live.peer = Some(peer);
        live.has_place = true;
        self.peers[peer].token = Some(token.to_owned());
    }

    fn welcome(&mut self, token: &str, peer: usize, resumed: bool, gap: bool) {
        let last = self.live[token].last;
        let mut welcome = json!({
            "session": token,
            "resumed": resumed,
            "last": last,
            "window": self.window,
            "gap": gap,
            "heartbeat": ["ping", "pong"],
            "unknown": null,
        });
        if self.replay.is_some() {
            welcome["at"] = self.position.into();
        }
        self.peers[peer].controls.push(json!({ "welcome": welcome }));
        self.peers[peer].controls.push(json!({ "unknown": 1 }));
        self.peers[peer].told = last;
    }

    fn upgraded(&mut self, peer: usize, protocols: &[String]) {
        let offer = protocols.iter().find_map(|name| name.strip_prefix("room.v1.resume."));
        if let Some(offer) = offer {
            let parts: Vec<_> = offer.split('.').collect();
            let number = |at: usize| parts[at].parse().expect("a number");
            let (token, from, at) = (parts[0], number(1), number(2));
            if self.sessions.contains_key(token) {
                self.wake(token);
                // After the frames of the old connection that wait.
                self.enqueue(token, Work::Resume(peer, from, at));
                return;
            }
        }
        self.tokens += 1;
        let token = format!("{:032x}", self.tokens);
        self.sessions.insert(token.clone(), Session { last: 0, outcomes: BTreeMap::new() });
        self.wake(&token);
        self.seat(&token, peer);
        self.welcome(&token, peer, false, offer.is_some());
        self.flush_soon(peer);
    }

    fn resume(&mut self, token: &str, peer: usize, from: u64, at: u64) {
        if self.peers[peer].is_closed {
            return;
        }
        let keeps = self.keeps_place(token);
        if let Some(old) = self.live[token].peer {
            self.close(old, 1012, "resumed by a new connection");
        }
        let live = self.live(token);
        live.last = live.last.max(from - 1);
        let (last, since) = (live.last, live.since);
        let is_complete = self.log.first().map_or(at == self.position, |first| at + 1 >= first.at);
        // The welcome of a connection between can have been lost, and with it the gap before the place that it began.
        let gap = !keeps || self.replay.is_none() || !is_complete || at < since;
        self.seat(token, peer);
        self.welcome(token, peer, true, gap);
        let outcomes: Vec<_> = self.sessions[token].outcomes.range(from..=last.max(from)).collect();
        let outcomes: Vec<_> =
            outcomes.into_iter().filter(|(n, _)| **n <= last).map(|(_, outcome)| outcome.clone()).collect();
        self.peers[peer].controls.extend(outcomes);
        if last >= from {
            self.peers[peer].controls.push(json!({ "ack": last }));
        }
        if !gap {
            let missed: Vec<_> = self.log.iter().filter(|entry| entry.at > at && entry.to.contains(token)).collect();
            let missed: Vec<_> = missed.iter().map(|entry| (entry.at, entry.message.clone())).collect();
            for (at, message) in missed {
                self.peers[peer].messages.push(message);
                self.peers[peer].at = Some(at);
                if self.random.chance(50) {
                    self.flush(peer);
                }
            }
        }
        self.flush(peer);
    }

    fn receive(&mut self, peer: usize, frame: Frame) {
        if self.peers[peer].is_closed {
            return;
        }
        let value: Value = match &frame {
            // The platform answers, also while the room is down.
            Frame::Text(text) if text == "ping" => {
                return self.deliver(peer, Arrival::Frame(Frame::Text("pong".to_owned())));
            }
            Frame::Text(text) if !self.is_packed => serde_json::from_str(text).expect("JSON"),
            #[cfg(feature = "msgpack")]
            Frame::Binary(bytes) if self.is_packed => rmp_serde::from_slice(bytes).expect("MessagePack"),
            other => return self.problems.push(format!("the frame {other:?}")),
        };
        let Some(token) = self.peers[peer].token.clone() else {
            return self.problems.push("a frame before the welcome".to_owned());
        };
        if let Some(number) = value.get(0).and_then(Value::as_u64).filter(|number| *number > 0) {
            self.check(peer, &token, number, &value);
        }
        if self.live.contains_key(&token) {
            self.enqueue(&token, Work::Frame(peer, value));
        }
    }

    fn enqueue(&mut self, token: &str, work: Work) {
        let live = self.live(token);
        live.queue.push_back(work);
        if !live.is_busy {
            self.work(token);
        }
    }

    fn work(&mut self, token: &str) {
        loop {
            let Some(live) = self.live.get_mut(token) else { return };
            live.is_busy = false;
            let Some(work) = live.queue.pop_front() else { return };
            live.is_busy = true;
            match work {
                Work::Resume(peer, from, at) => self.resume(token, peer, from, at),
                Work::Frame(peer, value) => {
                    if self.handle(token, peer, &value) {
                        // The end of the handler goes on.
                        return;
                    }
                }
            }
        }
    }

    /// Returns true if a handler runs now.
    fn handle(&mut self, token: &str, peer: usize, frame: &Value) -> bool {
        if let Some(from) = frame.get("from").and_then(Value::as_u64) {
            let live = self.live(token);
            live.last = live.last.max(from - 1);
            let last = live.last;
            self.peers[peer].told = self.peers[peer].told.max(last);
            return false;
        }
        let values = frame.as_array().cloned().unwrap_or_default();
        let number = values[0].as_u64().expect("a number");
        let last = self.live[token].last;
        if number > 0 && number <= last {
            let outcome = self.sessions[token].outcomes.get(&number).cloned();
            if let Some(peer) = self.live[token].peer {
                self.peers[peer].controls.push(outcome.unwrap_or_else(|| json!({ "ack": number })));
                self.flush_soon(peer);
            }
            return false;
        }
        if number > last + 1 {
            if !self.peers[peer].has_asked && self.live[token].peer == Some(peer) {
                self.peers[peer].controls.push(json!({ "resend": last + 1 }));
                self.flush_soon(peer);
            }
            self.peers[peer].has_asked = true;
            return false;
        }
        self.peers[peer].has_asked = false;
        self.live(token).running = (number > 0).then_some(number);
        let body = &values[values.len() - 1];
        let time = self.now + MS * body["ms"].as_u64().unwrap_or(0) as u32;
        let task = Task::HandlerEnds {
            incarnation: self.incarnation,
            token: token.to_owned(),
            number,
            values: values[1..].to_vec(),
        };
        self.at(time, task);
        true
    }

    fn handled(&mut self, token: &str, number: u64, values: &[Value]) {
        let body = &values[values.len() - 1];
        let id = body["id"].as_u64().unwrap_or(0);
        let kind = values[0].as_str().or_else(|| values[0]["type"].as_str()).unwrap_or_default();
        let mut outcome = None;
        let changes = matches!(kind, "Set" | "add");
        match kind {
            "Refused" => outcome = Some(json!({ "error": { "n": number, "code": "refused", "message": "no" } })),
            "Panic" => return self.crash(false),
            "add" => {
                let x = body["x"].as_u64().unwrap_or(0);
                outcome = Some(json!({ "answer": { "n": number, "value": x + 1 } }));
            }
            "nothing" => outcome = Some(json!({ "answer": { "n": number, "value": null } })),
            "fail" => outcome = Some(json!({ "answer": { "n": number, "error": { "id": id } } })),
            _ => {}
        }
        self.live(token).running = None;
        if changes {
            self.stored.push(id);
            if id.is_multiple_of(2) {
                self.broadcast();
            }
        }
        if number > 0 {
            self.settle(token, number, outcome, changes);
        }
        self.work(token);
    }

    fn settle(&mut self, token: &str, number: u64, outcome: Option<Value>, has_changed: bool) {
        self.live(token).last = number;
        let session = self.sessions.get_mut(token).expect("a session");
        // An event that changed nothing can be forgotten by a crash.
        if has_changed || outcome.is_some() {
            session.last = number;
        }
        session.outcomes.extend(outcome.clone().map(|outcome| (number, outcome)));
        let window = self.window;
        session.outcomes.retain(|n, _| n + window > number);
        let Some(peer) = self.live[token].peer else { return };
        let controls = &mut self.peers[peer].controls;
        match (outcome, controls.last_mut().and_then(|last| last.get_mut("ack"))) {
            (None, Some(ack)) => *ack = number.into(),
            (outcome, _) => controls.push(outcome.unwrap_or_else(|| json!({ "ack": number }))),
        }
        self.flush_soon(peer);
    }

    fn flush_soon(&mut self, peer: usize) {
        if self.peers[peer].is_waiting {
            return;
        }
        let ms = if self.gathers { self.random.below(30) } else { 0 };
        if ms == 0 {
            return self.flush(peer);
        }
        self.peers[peer].is_waiting = true;
        let time = self.now + MS * ms as u32;
        self.at(time, Task::Flush(peer));
    }

    fn flush(&mut self, peer: usize) {
        let has_replay = self.replay.is_some();
        let end = &mut self.peers[peer];
        if end.is_closed || (end.controls.is_empty() && end.messages.is_empty()) {
            return;
        }
        let mut controls = std::mem::take(&mut end.controls);
        let messages = std::mem::take(&mut end.messages);
        if let Some(at) = end.at.take().filter(|_| has_replay) {
            controls.push(json!({ "at": at }));
        }
        for control in &controls {
            let settled = [&control["ack"], &control["error"]["n"], &control["answer"]["n"]];
            end.told = settled.into_iter().filter_map(Value::as_u64).fold(end.told, u64::max);
        }
        let mut frame = vec![Value::Array(controls)];
        frame.extend(messages);
        let frame = Value::Array(frame);
        let frame = match self.is_packed {
            false => Frame::Text(frame.to_string()),
            #[cfg(feature = "msgpack")]
            true => Frame::Binary(rmp_serde::to_vec_named(&frame).expect("encodes")),
            #[cfg(not(feature = "msgpack"))]
            true => unreachable!("there is no MessagePack"),
        };
        self.deliver(peer, Arrival::Frame(frame));
    }

    fn check(&mut self, peer: usize, token: &str, number: u64, value: &Value) {
        let meaning = value.to_string();
        let key = (token.to_owned(), number);
        if let Some(before) = self.meaning.get(&key).filter(|before| **before != meaning) {
            self.problems.push(format!("{number} was {before} and is {meaning}"));
        }
        self.meaning.insert(key, meaning);
        let highest = self.highest.entry(token.to_owned()).or_insert(0);
        if number > *highest + 1 {
            self.problems.push(format!("{number} follows {highest}"));
        }
        *highest = number.max(*highest);
        let told = self.peers[peer].told;
        if number > told + self.window {
            self.problems.push(format!("{number} exceeds the window: {told} + {}", self.window));
        }
    }
}
