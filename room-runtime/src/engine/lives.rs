//! A randomized test of a room that keeps places.
//!
//! Peers replace each other, reconnect, are kicked and leave half-dead connections. The room hibernates, crashes,
//! restarts and is purged; its storage fails and has entries that do not decode.
//!
//! After every order of events these promises must hold: a place has one `on_close` of its own; exactly the peers that
//! may reconnect to their place can do so; frames are handled in order; acknowledged changes are stored; a place keeps its
//! topics; a topic selects exactly its subscribers; and presence lists the connected peers.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --lib engine::lives` repeats one life and tells it. `ROOM_SEEDS=…` sets the number of
//! lives.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Close, CloseCode, Failure, OnDuplicate, Peer, Peers, Room, RoomContext, Upgrade,
    testing::{
        TestPeer, TestRoom, World,
        lives::{Dice, Lives, Run},
    },
};

const LIVES: Lives = Lives { command: "cargo test -p room-runtime --lib engine::lives", seeds: 2_500, steps: 40 };
const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
const TOPICS: [&str; 2] = ["a", "a:b"];

/// A handler that ran. The notes are kept outside of the room, because a purge must not delete them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Connect,
    Resume,
    Away,
    Close,
    Said(u64),
    /// The topics of the place, at the begin of a handler.
    Has(Topics),
    /// The topics of the place, after a change.
    Now(Topics),
}

/// A set of [`TOPICS`], by their positions.
type Topics = [bool; TOPICS.len()];

thread_local! {
    static NOTES: RefCell<Vec<(u64, Note)>> = const { RefCell::new(Vec::new()) };
}

fn note(peer: &Peer<Ledger>, what: Note) {
    NOTES.with_borrow_mut(|notes| notes.push((peer.data().place, what)));
}

fn topics(peer: &Peer<Ledger>) -> Topics {
    let own = peer.topics();
    TOPICS.map(|topic| own.iter().any(|other| other == topic))
}

/// Changes one topic of a peer. This may fail, because the peer may have left or storage may fail.
fn change_topics(peer: &Peer<Ledger>, number: u64) {
    let topic = TOPICS[number as usize % TOPICS.len()];
    let _ = if number.is_multiple_of(3) { peer.unsubscribe(topic) } else { peer.subscribe(topic) };
    note(peer, Note::Now(topics(peer)));
}

/// Checks that each topic selects the connected peers whose own list has it.
fn check_topics(ctx: &RoomContext<Ledger>) {
    for topic in TOPICS {
        let places = |peers: Peers<'_, Ledger>| {
            let mut places: Vec<_> = peers.iter().map(|peer| peer.data().place).collect();
            places.sort_unstable();
            places
        };
        let listed = places(ctx.peers().filter(|peer| peer.topics().iter().any(|own| own == topic)));
        assert_eq!(places(ctx.topic(topic)), listed, "the subscribers of {topic}");
    }
}

#[derive(Debug)]
enum Ledger {}

/// The numbers that each place has said.
type State = BTreeMap<u64, Vec<u64>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    place: u64,
    /// The time for which the handlers of this peer wait.
    slow_ms: u64,
    said: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Say { number: u64, wait_ms: u64 },
    CheckTopics,
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
        change_topics(peer, peer.data().place);
        wait(ctx, peer.data().slow_ms).await;
        note(peer, Note::Connect);
        Ok(())
    }

    async fn on_resume(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(peer, Note::Resume);
        note(peer, Note::Has(topics(peer)));
        wait(ctx, peer.data().slow_ms).await;
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        match event {
            Event::Say { number, wait_ms } => {
                let peer = ctx.sender().expect("only peers speak here");
                let place = peer.data().place;
                note(peer, Note::Said(number));
                note(peer, Note::Has(topics(peer)));
                change_topics(peer, number);
                ctx.update(|state| state.entry(place).or_default().push(number))?;
                // This may fail, because the peer may have left.
                let _ = peer.update_data(|data| data.said += 1);
                wait(ctx, wait_ms).await;
                peer.send(&Message::Said { number }).unwrap_or_default();
            }
            Event::CheckTopics => check_topics(ctx),
            Event::Kick { user } => drop(ctx.peers().with_id(user).close(CloseCode::POLICY, "out")?),
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    async fn on_away(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(peer, Note::Away);
        note(peer, Note::Has(topics(peer)));
        wait(ctx, peer.data().slow_ms).await;
        Ok(())
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
        note(peer, Note::Close);
        note(peer, Note::Has(topics(peer)));
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

/// The end of a place, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection is open.
    No,
    /// The connection was lost or closed with 1001: the peer may reconnect to the place.
    Lost,
    /// The client closed the connection for good.
    Left,
    /// The room closed the connection: a kick or a replacement.
    Closed,
    /// The place was purged, or its entry does not decode: no `on_close` runs.
    Forgotten,
}

struct Client {
    user: &'static str,
    place: u64,
    token: String,
    peer: TestPeer<Ledger>,
    /// Connections that the client gave up and that never answered.
    half_dead: Vec<TestPeer<Ledger>>,
    sent: u64,
    acknowledged: u64,
    end: End,
    is_closed: bool,
    last_said: u64,
    /// The topics after the last change; `None` if it is not known.
    topics: Option<Topics>,
}

struct Life {
    world: World,
    room: TestRoom<Ledger>,
    dice: Dice,
    clients: Vec<Client>,
    next_place: u64,
    run: Run,
}

impl Life {
    fn new(run: &Run) -> Life {
        NOTES.take();
        let world = run.world();
        let room = world.room("ledger");
        Life { world, room, dice: Dice::new(run.seed()), clients: Vec::new(), next_place: 0, run: run.clone() }
    }

    fn say_what(&self, what: impl FnOnce() -> String) {
        self.run.note(what);
    }

    fn chance(&mut self, n: usize) -> usize {
        self.dice.below(n as u64) as usize
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
            // All earlier connections of the user are replaced, even those that are away.
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
            topics: None,
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
            // The room sees the connection as open, but the client answers nothing.
            _ => client.peer.stop_responding(),
        }
    }

    fn resume(&mut self) {
        let Some(index) = self.anyone() else { return };
        let (user, token, place) = {
            let client = &self.clients[index];
            (client.user, client.token.clone(), client.place)
        };
        // Pending events are handled in any order. A client whose `on_close` has run must not resume.
        let may = matches!(self.clients[index].end, End::No | End::Lost) && !self.clients[index].is_closed;
        let (other, upgrade) = self.upgrade(user);
        self.say_what(|| format!("{place} resumes, or is {other}; it may: {may}"));
        let peer = self.room.connect(upgrade.resume(&token));
        let frame = peer.receive_raw();
        let told = frame.as_deref().and_then(self::token).expect("the token is the first frame");
        // The grace may have ended while the upgrade was handled.
        let is_over = NOTES.with_borrow(|notes| notes.contains(&(place, Note::Close)));
        // The room may have run `on_away` for the lost connection during this upgrade.
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

    /// Makes writes fail while a peer connects or resumes.
    fn fail_storage(&mut self) {
        // If storage cannot record that an `on_close` began, it runs again. So no departure may be pending here.
        if self.room.is_busy() || !self.room.is_in_memory() {
            return;
        }
        self.say_what(|| "storage fails".to_owned());
        self.room.fail_writes(true);
        let Some(index) = self.anyone() else { return self.room.fail_writes(false) };
        let (user, token) = (self.clients[index].user, self.clients[index].token.clone());
        let (_, upgrade) = self.upgrade(user);
        let upgrade = if self.chance(2) == 0 { upgrade.resume(&token) } else { upgrade };
        // The upgrade is refused in one way or another, and nothing changes.
        if let Ok(peer) = self.room.try_connect(upgrade) {
            assert!(!peer.is_open(), "a peer is in, and that is not stored");
        }
        self.room.fail_writes(false);
    }

    /// Changes the stored entry of a peer that is away, so that it does not decode.
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

    /// Checks the received frames, the handlers' notes and the stored state.
    fn check(&mut self) {
        // The check reads the topics, also in the first event after a wake.
        if self.chance(8) == 0 {
            self.room.send(&Event::CheckTopics).expect("the topics are right");
        }
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
            // The room may have closed the connection on its own.
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
                // The peer is still connecting, or was refused.
                continue;
            };
            let is_after = client.is_closed && !matches!(what, Note::Has(_));
            assert!(!is_after, "{place}: {what:?} after its on_close");
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
                Note::Now(topics) => client.topics = Some(topics),
                Note::Has(topics) => {
                    assert!(client.topics.is_none_or(|known| known == topics), "{place} has other topics: {topics:?}");
                }
            }
        }
    }

    fn end(&mut self) {
        self.say_what(|| "the end".to_owned());
        for client in &mut self.clients {
            std::mem::take(&mut client.half_dead).iter().for_each(TestPeer::disconnect);
        }
        // No event arrives, so the room's own alarms must do the rest. A kicked peer that does not answer gets its
        // `on_close` at the next start.
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

/// The resume token in a frame of the runtime.
fn token(frame: &str) -> Option<String> {
    let frame: serde_json::Value = serde_json::from_str(frame).ok()?;
    Some(frame.pointer("/$room/resume")?.as_str()?.to_owned())
}

fn live(run: &Run) {
    let mut life = Life::new(run);
    for step in run.steps() {
        life.dice = step.dice;
        life.step();
    }
    life.end();
}

#[test]
fn no_life_of_a_place_breaks_a_promise() {
    LIVES.run(live);
}
