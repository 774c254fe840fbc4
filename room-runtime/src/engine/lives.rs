//! Random lives of a room that keeps places: peers replace each other, come back, are kicked, leave half-dead connections
//! behind; the room sleeps, crashes, restarts, is purged, has storage that fails and entries that it cannot read. Whatever
//! happens and in whatever order, a place has one `on_close`, which is its own; whoever may come back does, and nobody else;
//! frames are handled in order; what was acknowledged is stored; and presence is who is there.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --lib lives` lives one of them again and says what happens; `ROOM_SEEDS=…` says
//! how many there are.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Close, CloseCode, Failure, OnDuplicate, Peer, Room, RoomContext, Upgrade,
    testing::{TestPeer, TestRoom, World},
};

const SEEDS: u64 = 10_000;
const STEPS: usize = 40;
const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];

/// What a handler was run for, noted outside of the room: a purge does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Connect,
    Resume,
    Away,
    Close,
    Said(u64),
}

thread_local! {
    static NOTES: RefCell<Vec<(u64, Note)>> = const { RefCell::new(Vec::new()) };
}

fn note(peer: &Peer<Ledger>, what: Note) {
    NOTES.with_borrow_mut(|notes| notes.push((peer.data().place, what)));
}

#[derive(Debug)]
enum Ledger {}

/// What each place has said.
type State = BTreeMap<u64, Vec<u64>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    place: u64,
    /// How long its handlers wait.
    slow_ms: u64,
    said: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Say { number: u64, wait_ms: u64 },
    Kick { user: String },
    Purge,
}

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Said { number: u64 },
    Gone { place: u64 },
}

impl Room for Ledger {
    const NAME: &'static str = "ledger";
    const BINDING: &'static str = "LEDGER";
    const CLASS: &'static str = "LedgerRoom";
    const RECONNECT_GRACE_MS: u64 = 200;
    const PURGE_AFTER_MS: u64 = 86_400_000;
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
        note(peer, Note::Connect);
        Ok(())
    }

    async fn on_resume(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(peer, Note::Resume);
        wait(ctx, peer.data().slow_ms).await;
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        match event {
            Event::Say { number, wait_ms } => {
                let peer = ctx.sender().expect("only peers speak here");
                let place = peer.data().place;
                note(peer, Note::Said(number));
                ctx.update(|state| state.entry(place).or_default().push(number))?;
                // One that has left is told nothing.
                let _ = peer.update_data(|data| data.said += 1);
                wait(ctx, wait_ms).await;
                peer.send(&Message::Said { number }).unwrap_or_default();
            }
            Event::Kick { user } => drop(ctx.peers().with_id(user).close(CloseCode::POLICY, "out")?),
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    async fn on_away(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(peer, Note::Away);
        wait(ctx, peer.data().slow_ms).await;
        Ok(())
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
        note(peer, Note::Close);
        let place = peer.data().place;
        wait(ctx, peer.data().slow_ms).await;
        ctx.broadcast(&Message::Gone { place })?;
        Ok(())
    }
}

async fn wait(ctx: &RoomContext<Ledger>, ms: u64) {
    if ms > 0 {
        ctx.sleep(Duration::from_millis(ms)).await;
    }
}

/// How a place may have ended, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has not: its connection is open.
    No,
    /// The connection is lost, or closed with 1001: it may come back.
    Lost,
    /// The client closed it for good.
    Left,
    /// The room closed it: a kick, a replacement.
    Closed,
    /// It went with the room, or its entry cannot be read: no `on_close` comes.
    Forgotten,
}

struct Client {
    user: &'static str,
    place: u64,
    token: String,
    peer: TestPeer<Ledger>,
    /// Connections that it gave up and that never answered.
    half_dead: Vec<TestPeer<Ledger>>,
    sent: u64,
    acknowledged: u64,
    end: End,
    is_closed: bool,
    last_said: u64,
}

struct Life {
    world: World,
    room: TestRoom<Ledger>,
    random: u64,
    clients: Vec<Client>,
    next_place: u64,
    is_loud: bool,
}

impl Life {
    fn new(seed: u64, is_loud: bool) -> Life {
        NOTES.take();
        let world = World::with_seed(seed);
        let room = world.room("ledger");
        Life { world, room, random: seed, clients: Vec::new(), next_place: 0, is_loud }
    }

    fn say_what(&self, what: impl FnOnce() -> String) {
        if self.is_loud {
            eprintln!("{}", what());
        }
    }

    fn chance(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % n as u64) as usize
    }

    fn delay(&mut self) -> u64 {
        if self.chance(3) == 0 { self.chance(40) as u64 } else { 0 }
    }

    fn anyone(&mut self) -> Option<usize> {
        let n = self.clients.len();
        (n > 0).then(|| self.chance(n))
    }

    fn step(&mut self) {
        match self.chance(24) {
            0..4 => self.connect(),
            4..9 => self.say(),
            9..12 => {
                let ms = self.chance(120) as u64;
                self.say_what(|| format!("advance {ms}"));
                self.world.advance(Duration::from_millis(ms));
            }
            12 | 13 if !self.room.is_busy() => {
                self.say_what(|| "hibernate".to_owned());
                self.room.hibernate();
            }
            14 => {
                self.say_what(|| "crash".to_owned());
                self.room.crash();
            }
            15 if self.chance(3) == 0 => self.restart(),
            16..19 => self.leave(),
            19..22 => self.resume(),
            22 => match self.chance(8) {
                0 => self.purge(),
                1 | 2 => self.fail_storage(),
                3 => self.change_schema(),
                _ => self.kick(),
            },
            _ => self.end_half_dead(),
        }
        self.check();
    }

    fn upgrade(&mut self, user: &'static str) -> (u64, Upgrade<Data>) {
        self.next_place += 1;
        let (place, slow_ms) = (self.next_place, self.delay());
        (place, Upgrade::new(Data { place, slow_ms, said: 0 }).id(user))
    }

    fn connect(&mut self) {
        let user = USERS[self.chance(USERS.len())];
        let replaces = self.chance(3) == 0;
        let (place, mut upgrade) = self.upgrade(user);
        if replaces {
            upgrade = upgrade.on_duplicate(OnDuplicate::Replace);
        }
        self.say_what(|| format!("connect {user} as {place}, replaces: {replaces}"));
        let before: Vec<u64> = self.clients.iter().filter(|c| c.user == user).map(|c| c.place).collect();
        let peer = self.room.connect(upgrade);
        self.met(user, place, peer);
        for client in &mut self.clients {
            // Those before it end with it, also where they are away.
            if replaces && before.contains(&client.place) && matches!(client.end, End::No | End::Lost) {
                client.end = End::Closed;
            }
        }
    }

    fn met(&mut self, user: &'static str, place: u64, peer: TestPeer<Ledger>) {
        let token = peer.receive_raw().and_then(|frame| token(&frame)).expect("the token is the first frame");
        self.add(user, place, token, peer);
    }

    fn add(&mut self, user: &'static str, place: u64, token: String, peer: TestPeer<Ledger>) {
        self.clients.push(Client {
            user,
            place,
            token,
            end: if peer.is_open() { End::No } else { End::Forgotten },
            peer,
            half_dead: Vec::new(),
            sent: 0,
            acknowledged: 0,
            is_closed: false,
            last_said: 0,
        });
    }

    fn say(&mut self) {
        let mut frames = Vec::new();
        for _ in 0..=self.chance(3) {
            let Some(index) = self.anyone() else { return };
            let wait_ms = self.delay();
            let client = &mut self.clients[index];
            client.sent += 1;
            frames.push((index, Event::Say { number: client.sent, wait_ms }));
        }
        self.say_what(|| format!("say {frames:?}"));
        let clients = &self.clients;
        self.world.together(|| frames.iter().for_each(|(index, event)| clients[*index].peer.send(event)));
    }

    fn leave(&mut self) {
        let Some(index) = self.anyone() else { return };
        let how = self.chance(4);
        self.say_what(|| format!("{} leaves, {how}", self.clients[index].place));
        let client = &mut self.clients[index];
        let is_open = client.end == End::No;
        match how {
            0 => {
                client.end = if is_open { End::Left } else { client.end };
                self.clients[index].peer.close();
            }
            1 => {
                client.end = if is_open { End::Lost } else { client.end };
                self.clients[index].peer.close_with(CloseCode::AWAY, "");
            }
            2 => {
                client.end = if is_open { End::Lost } else { client.end };
                self.clients[index].peer.disconnect();
            }
            // It is there for the room, and answers nothing.
            _ => client.peer.stop_responding(),
        }
    }

    fn resume(&mut self) {
        let Some(index) = self.anyone() else { return };
        let (user, token, place) = {
            let client = &self.clients[index];
            (client.user, client.token.clone(), client.place)
        };
        // What is still under way is handled in whatever order; who is told that it is over is not to come back.
        let may = matches!(self.clients[index].end, End::No | End::Lost) && !self.clients[index].is_closed;
        let (other, upgrade) = self.upgrade(user);
        self.say_what(|| format!("{place} resumes, or is {other}; it may: {may}"));
        let peer = self.room.connect(upgrade.resume(&token));
        let frame = peer.receive_raw();
        let told = frame.as_deref().and_then(self::token).expect("the token is the first frame");
        // Its time may have ended while it came.
        let is_over = NOTES.with_borrow(|notes| notes.contains(&(place, Note::Close)));
        // It may have been noticed to be away on the way here.
        self.check_notes();
        if told == token {
            assert!(matches!(self.clients[index].end, End::No | End::Lost), "{place} came back, and may not");
            let client = &mut self.clients[index];
            let old = std::mem::replace(&mut client.peer, peer);
            client.half_dead.push(old);
            client.end = End::No;
        } else {
            assert!(!may || is_over, "{place} may come back, and did not");
            self.add(user, other, told, peer);
        }
    }

    fn kick(&mut self) {
        let user = USERS[self.chance(USERS.len())];
        self.say_what(|| format!("kick {user}"));
        let open: Vec<usize> = (0..self.clients.len())
            .filter(|i| self.clients[*i].user == user && self.clients[*i].end == End::No)
            .collect();
        self.room.send(&Event::Kick { user: user.to_owned() }).expect("kicked");
        for index in open {
            self.clients[index].end = End::Closed;
        }
    }

    fn restart(&mut self) {
        self.say_what(|| "restart".to_owned());
        self.room.restart();
        for client in &mut self.clients {
            client.half_dead.clear();
            if client.end == End::No {
                client.end = End::Lost;
            }
        }
    }

    fn purge(&mut self) {
        self.say_what(|| "purge".to_owned());
        self.room.send(&Event::Purge).expect("purged");
        self.check_notes();
        for client in &mut self.clients {
            client.end = End::Forgotten;
            client.acknowledged = 0;
        }
    }

    /// Nothing can be written while somebody speaks, comes, or comes back.
    fn fail_storage(&mut self) {
        // Not while somebody is found to be gone: an `on_close` of which storage does not take that it ran, runs again.
        if self.room.is_busy() || !self.room.is_in_memory() {
            return;
        }
        self.say_what(|| "storage fails".to_owned());
        self.room.fail_writes(true);
        let Some(index) = self.anyone() else { return self.room.fail_writes(false) };
        let (user, token) = (self.clients[index].user, self.clients[index].token.clone());
        let (_, upgrade) = self.upgrade(user);
        let upgrade = if self.chance(2) == 0 { upgrade.resume(&token) } else { upgrade };
        // It is refused, one way or another, and nothing changes.
        if let Ok(peer) = self.room.try_connect(upgrade) {
            assert!(!peer.is_open(), "a peer is in, and that is not stored");
        }
        self.room.fail_writes(false);
    }

    /// An entry of a peer that is away cannot be read any more.
    fn change_schema(&mut self) {
        if self.room.is_busy() {
            return;
        }
        self.room.hibernate();
        let memory = &self.room.object.memory;
        let away = memory.keys("room:peer:").into_iter().find_map(|key| {
            let entry = String::from_utf8(memory.stored(&key)?).ok()?;
            (entry.contains(r#""away""#) && entry.contains(r#""place""#)).then_some((key, entry))
        });
        let Some((key, entry)) = away else { return };
        memory.store(&key, entry.replace(r#""place""#, r#""was_place""#).as_bytes());
        let client = self.clients.iter_mut().find(|client| key.ends_with(&client.token)).expect("it is known");
        client.end = End::Forgotten;
        let place = client.place;
        self.say_what(|| format!("the entry of {place} cannot be read"));
    }

    fn end_half_dead(&mut self) {
        let Some(index) = self.anyone() else { return };
        if let Some(old) = self.clients[index].half_dead.pop() {
            self.say_what(|| format!("an old connection of {} ends", self.clients[index].place));
            old.disconnect();
        }
    }

    /// What arrived, and what the handlers have noted, and whether it may be so.
    fn check(&mut self) {
        self.check_notes();
        let stored: State = match self.room.stored_state() {
            Some(json) => serde_json::from_str(&json).expect("the state"),
            None => State::default(),
        };
        for client in &mut self.clients {
            let place = client.place;
            for peer in client.half_dead.iter().chain([&client.peer]) {
                while let Some(frame) = peer.receive_raw() {
                    if let Ok(Message::Said { number }) = serde_json::from_str(&frame) {
                        client.acknowledged = client.acknowledged.max(number);
                    }
                }
            }
            // The room may have closed a connection that nobody asked it to.
            if client.end == End::No && !client.peer.is_open() {
                client.end = End::Closed;
            }
            let said = stored.get(&place).map_or(&[][..], Vec::as_slice);
            assert!(said.is_sorted_by(|a, b| a < b), "{place} said {said:?}");
            let last = said.last().copied().unwrap_or_default();
            assert!(
                client.end == End::Forgotten || client.acknowledged <= last,
                "{place}: an acknowledged change is lost"
            );
        }
    }

    fn check_notes(&mut self) {
        for (place, what) in NOTES.take() {
            self.say_what(|| format!("    {place}: {what:?}"));
            let client = self.clients.iter_mut().find(|client| client.place == place);
            let Some(client) = client else {
                // One that is coming in right now, or was turned away.
                continue;
            };
            assert!(!client.is_closed, "{place}: {what:?} after its on_close");
            match what {
                Note::Connect | Note::Resume => {}
                Note::Away => assert!(client.end != End::No || !client.peer.is_open(), "{place} is here, and away"),
                Note::Close => {
                    assert!(client.end != End::No || !client.peer.is_open(), "{place} is here, and has its on_close");
                    assert!(client.end != End::Forgotten, "{place}: on_close of a place that is gone");
                    client.is_closed = true;
                }
                Note::Said(number) => {
                    assert!(client.last_said < number, "{place}: {number} after {}", client.last_said);
                    client.last_said = number;
                }
            }
        }
    }

    fn end(&mut self) {
        self.say_what(|| "the end".to_owned());
        for client in &mut self.clients {
            std::mem::take(&mut client.half_dead).iter().for_each(TestPeer::disconnect);
        }
        // Nobody visits: what has to happen happens by itself. Whoever was kicked and does not answer is seen off at the
        // next start.
        self.world.advance(Duration::from_secs(700));
        self.room.hibernate();
        let mut present: Vec<_> = self.room.object.host().presence().expect("presence").into_iter().collect();
        self.room.peers(None).expect("the room answers");
        self.world.advance(Duration::from_secs(1));
        self.check();
        assert!(!self.room.is_busy(), "something never ends");
        for client in &self.clients {
            let Client { place, end, is_closed, .. } = client;
            match end {
                End::No => assert!(client.peer.is_open() && !is_closed, "{place} is open, and has had its on_close"),
                End::Lost | End::Left | End::Closed => {
                    assert!(is_closed, "{place} is {end:?}, and never had its on_close")
                }
                End::Forgotten => {}
            }
        }
        let mut here: BTreeMap<&str, usize> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.end == End::No) {
            *here.entry(client.user).or_default() += 1;
        }
        present.sort_by(|a, b| a.id.cmp(&b.id));
        let present: Vec<_> = present.iter().map(|user| (user.id.as_str(), user.peers.len())).collect();
        assert_eq!(present, here.into_iter().collect::<Vec<_>>(), "presence is who is there");
    }
}

/// The token in a frame of the runtime.
fn token(frame: &str) -> Option<String> {
    let frame: serde_json::Value = serde_json::from_str(frame).ok()?;
    Some(frame.pointer("/$room/resume")?.as_str()?.to_owned())
}

fn live(seed: u64, is_loud: bool) {
    let mut life = Life::new(seed, is_loud);
    for _ in 0..STEPS {
        life.step();
    }
    life.end();
}

#[test]
fn no_life_of_a_place_breaks_a_promise() {
    if let Ok(seed) = env::var("ROOM_SEED") {
        live(seed.parse().expect("ROOM_SEED is a number"), true);
        return;
    }
    let seeds = env::var("ROOM_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("ROOM_SEEDS is a number"));
    for seed in 0..seeds {
        if catch_unwind(AssertUnwindSafe(|| live(seed, false))).is_err() {
            panic!("seed {seed} breaks a promise: ROOM_SEED={seed} cargo test -p room-runtime --lib lives");
        }
    }
}
