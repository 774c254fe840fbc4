//! Promises that hold for any events of a room in any order. No acknowledged change is lost. `on_connect` and
//! `on_close` run once for each peer. The frames of a peer are handled in order. No peer stays in the room without a
//! connection.
//!
//! Each seed is a life of fifty steps. `ROOM_SEED=… cargo test -p room-runtime --test properties` repeats one and tells it.
//! `ROOM_SEEDS=…` sets the number of seeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use room_runtime::{
    Close, Failure, Peer, Room, RoomContext, Upgrade,
    testing::{
        TestPeer, TestRoom, World,
        lives::{Dice, Lives, Run},
    },
};
use serde::{Deserialize, Serialize};

const LIVES: Lives = Lives { command: "cargo test -p room-runtime --test properties", seeds: 2_500, steps: 50 };

/// A room that keeps a ledger of its events.
#[derive(Debug)]
enum Ledger {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    connected: Vec<String>,
    /// The numbers that each peer sent, in the order in which the room handled them.
    said: BTreeMap<String, Vec<u64>>,
    /// The peers whose `on_close` began; `closed` lists those whose `on_close` ended.
    leaving: Vec<String>,
    closed: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    /// The time for which the peer's `on_connect` and `on_close` wait.
    slow_ms: u64,
    /// The number of events that the peer has sent. It is stored with the socket and is a part of each acknowledgement.
    said: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Say { number: u64, wait_before_ms: u64, wait_after_ms: u64, fail: bool },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Welcome,
    /// The acknowledgement of an event: the number is in the ledger, and `count` is the number of the peer's events so
    /// far.
    Said {
        number: u64,
        count: u64,
    },
    Joined {
        id: String,
    },
}

impl Room for Ledger {
    const NAME: &'static str = "ledger";
    const BINDING: &'static str = "LEDGER";
    const CLASS: &'static str = "LedgerRoom";
    type State = State;
    type Connection = Data;
    type Event = Event;
    type Broadcast = Message;
    type Alarm = ();
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<State, Failure> {
        Ok(State::default())
    }

    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }

    async fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        wait(ctx, peer.data().slow_ms).await;
        ctx.update(|state| state.connected.push(peer.id().to_string()))?;
        peer.send(&Message::Welcome)?;
        ctx.peers().except(peer).send(&Message::Joined { id: peer.id().to_string() })?;
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        let Event::Say { number, wait_before_ms, wait_after_ms, fail } = event;
        let peer = ctx.sender().expect("only peers speak here");
        wait(ctx, wait_before_ms).await;
        ctx.update(|state| state.said.entry(peer.id().to_string()).or_default().push(number))?;
        let count = peer.update_data(|data| {
            data.said += 1;
            data.said
        });
        // A peer that has left gets no acknowledgement, but its last events still count.
        if let Ok(count) = count {
            peer.send(&Message::Said { number, count }).unwrap_or_default();
        }
        wait(ctx, wait_after_ms).await;
        if fail { Err(Failure::msg("as told")) } else { Ok(()) }
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
        ctx.update(|state| state.leaving.push(peer.id().to_string()))?;
        wait(ctx, peer.data().slow_ms).await;
        assert!(!ctx.peers().iter().any(|other| other == *peer), "one that goes is not among the peers");
        ctx.update(|state| state.closed.push(peer.id().to_string()))?;
        Ok(())
    }
}

async fn wait(ctx: &RoomContext<Ledger>, ms: u64) {
    if ms > 0 {
        ctx.sleep(Duration::from_millis(ms)).await;
    }
}

/// A client and its observations.
struct Client {
    peer: TestPeer<Ledger>,
    welcome: bool,
    sent: u64,
    /// The numbers that were acknowledged.
    acknowledged: Vec<u64>,
}

struct Life {
    world: World,
    room: TestRoom<Ledger>,
    dice: Dice,
    clients: BTreeMap<String, Client>,
    run: Run,
}

impl Life {
    fn new(run: &Run) -> Life {
        let world = run.world();
        let room = world.room("ledger");
        Life { world, room, dice: Dice::new(run.seed()), clients: BTreeMap::new(), run: run.clone() }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        self.run.note(what);
    }

    fn chance(&mut self, n: u64) -> u64 {
        self.dice.below(n)
    }

    fn delay(&mut self) -> u64 {
        match self.chance(3) {
            0 => 0,
            _ => self.chance(30),
        }
    }

    fn anyone(&mut self) -> Option<String> {
        let n = self.clients.len() as u64;
        let index = if n == 0 { return None } else { self.chance(n) as usize };
        self.clients.keys().nth(index).cloned()
    }

    fn step(&mut self, number: usize) {
        match self.chance(20) {
            0..3 => self.connect(format!("p{number}")),
            3..10 => self.say(),
            10..14 => {
                let ms = self.chance(25);
                self.note(|| format!("advance {ms}"));
                self.world.advance(Duration::from_millis(ms));
            }
            14..16 if !self.room.is_busy() => {
                self.note(|| "hibernate".to_owned());
                self.room.hibernate();
            }
            16 => self.go_down("crash", TestRoom::crash),
            17 if self.chance(4) == 0 => self.go_down("restart", TestRoom::restart),
            18 | 19 => self.leave(),
            _ => self.say(),
        }
        self.listen();
    }

    fn connect(&mut self, id: String) {
        let slow_ms = self.delay();
        self.note(|| format!("connect {id}, slow {slow_ms}"));
        let upgrade = Upgrade::new(Data { slow_ms, said: 0 }).id(&id);
        let peer = self.room.connect(upgrade);
        self.clients.insert(id, Client { peer, welcome: false, sent: 0, acknowledged: Vec::new() });
    }

    /// Sends events from one or several peers at once.
    fn say(&mut self) {
        let mut frames = Vec::new();
        for _ in 0..=self.chance(4) {
            let Some(id) = self.anyone() else { return };
            let (wait_before_ms, wait_after_ms, fail) = (self.delay(), self.delay(), self.chance(5) == 0);
            let number = self.clients[&id].sent + 1;
            self.note(|| format!("{id} says {number}, {wait_before_ms} before, {wait_after_ms} after, fails: {fail}"));
            self.clients.get_mut(&id).expect("it is known").sent = number;
            frames.push((id, Event::Say { number, wait_before_ms, wait_after_ms, fail }));
        }
        let clients = &self.clients;
        self.world.together(|| frames.iter().for_each(|(id, event)| clients[id].peer.send(event)));
    }

    fn leave(&mut self) {
        let Some(id) = self.anyone() else { return };
        let clean = self.chance(2) == 0;
        self.note(|| format!("{id} leaves, clean: {clean}"));
        let peer = &self.clients[&id].peer;
        if clean { peer.close() } else { peer.disconnect() }
    }

    fn go_down(&mut self, what: &str, go_down: impl Fn(&TestRoom<Ledger>)) {
        self.note(|| what.to_owned());
        self.listen();
        go_down(&self.room);
    }

    fn stored(&self) -> State {
        let json = self.room.stored_state();
        json.map_or_else(State::default, |json| serde_json::from_str(&json).expect("the ledger is stored as it is"))
    }

    /// Checks everything that arrived at the clients against the stored ledger.
    fn listen(&mut self) {
        let stored = self.stored();
        for (id, client) in &mut self.clients {
            while let Some(text) = client.peer.receive_raw() {
                // The sender of a frame gets an error frame if the frame was lost or its handler failed.
                if ["restarted", "handler"].iter().any(|code| text.starts_with(&error_frame(code))) {
                    continue;
                }
                match serde_json::from_str(&text).expect("a message") {
                    Message::Welcome => {
                        assert!(!client.welcome, "{id} is welcomed once");
                        assert!(stored.connected.contains(id), "{id} is welcomed when that is stored");
                        client.welcome = true;
                    }
                    Message::Said { number, count } => {
                        let said = stored.said.get(id).map_or(&[][..], Vec::as_slice);
                        assert!(said.contains(&number), "{id} was told that {number} is stored");
                        assert!(client.acknowledged.last().is_none_or(|last| *last < number), "{id}: {number} is late");
                        assert!(count <= said.len() as u64, "{id}: {count} is more than it said");
                        client.acknowledged.push(number);
                    }
                    Message::Joined { id: other } => {
                        assert!(stored.connected.contains(&other), "{id} hears of {other} when that is stored");
                    }
                }
            }
        }
        self.check_ledger(&stored);
    }

    fn check_ledger(&self, stored: &State) {
        for list in [&stored.connected, &stored.leaving, &stored.closed] {
            let once: BTreeSet<_> = list.iter().collect();
            assert_eq!(once.len(), list.len(), "each once: {list:?}");
        }
        for id in &stored.leaving {
            assert!(stored.connected.contains(id), "{id} is seen off, and was never let in");
        }
        for id in &stored.closed {
            assert!(stored.leaving.contains(id), "{id}: an on_close that ended without a beginning");
        }
        for (id, said) in &stored.said {
            assert!(said.is_sorted_by(|a, b| a < b), "{id} said {said:?}");
        }
        for (id, client) in &self.clients {
            let said = stored.said.get(id).map_or(&[][..], Vec::as_slice);
            assert!(
                client.acknowledged.iter().all(|number| said.contains(number)),
                "{id}: an acknowledged change is lost"
            );
        }
    }

    /// Checks the room after all its work has ended.
    fn end(&mut self) {
        self.note(|| "the end".to_owned());
        self.world.advance(Duration::from_secs(60));
        // The call loads the room into memory, so that it notices peers whose connections ended in a restart.
        let peers = self.room.peers(None).expect("the room answers");
        self.world.advance(Duration::from_secs(60));
        self.listen();
        assert!(!self.room.is_busy(), "something never ends");
        let stored = self.stored();
        let mut open = BTreeSet::new();
        for (id, client) in &self.clients {
            if client.peer.is_open() {
                assert!(client.welcome, "{id} is open, and was never let in");
                assert!(!stored.leaving.contains(id), "{id} is open, and was seen off");
                open.insert(id.clone());
            } else {
                let seen_off = stored.leaving.contains(id);
                assert_eq!(stored.connected.contains(id), seen_off, "{id} left: let in and seen off, or neither");
            }
        }
        let ids: BTreeSet<_> = peers.iter().map(|peer| peer.id.to_string()).collect();
        assert_eq!((peers.len(), ids), (open.len(), open), "the peers are those that are connected");
        for peer in peers {
            let said = stored.said.get(peer.id.as_str()).map_or(0, Vec::len) as u64;
            assert!(peer.data.said <= said, "{}: its data is ahead of the ledger", peer.id);
            assert!(
                peer.data.said >= self.clients[peer.id.as_str()].acknowledged.len() as u64,
                "{}: data lost",
                peer.id
            );
        }
        self.room.hibernate();
        let again = self.room.peers(None).expect("the room answers").len();
        assert_eq!(again, self.clients.values().filter(|client| client.peer.is_open()).count(), "asleep and awake");
    }
}

/// Returns the beginning of an error frame with this code.
fn error_frame(code: &str) -> String {
    format!(r#"{{"$room":{{"error":{{"code":"{code}""#)
}

fn live(run: &Run) {
    let mut life = Life::new(run);
    for step in run.steps() {
        life.dice = step.dice;
        life.step(step.number);
    }
    life.end();
}

#[test]
fn no_life_of_a_room_breaks_a_promise() {
    LIVES.run(live);
}
