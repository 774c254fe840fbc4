//! Random lives of a room that uses everything together: plain clients and clients of `room.v1` in both codecs, replacement,
//! resuming, kicks, purges, topics, calls, replay, schedules, durable calls, idempotent calls of the Worker, and a second version of
//! the room that is deployed over the first and back. Storage fails, the clock is set, handlers fail and panic.
//!
//! The handlers note what they do, and a model in the test keeps the whole history. Each acknowledged change is stored once, in the
//! order of its client; each place has one `on_close`; `on_join` and `on_leave` alternate; no alarm is early, lost, or fires after
//! another one took its key; a client gets each message that was for it, or learns of a gap; each call has its answer; each
//! durable call arrives once. At its end the room is empty and quiet, and purges itself without a rest.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --test whole_lives` repeats one life and tells it. `ROOM_SEEDS=…` sets the number of
//! lives.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use room_runtime::{
    CloseCode, OnDuplicate, Upgrade,
    testing::{
        TestFrame, TestPeer, TestRoom, World,
        lives::{Dice, Lives, Run},
    },
};
use serde_json::{Value, json};

const LIVES: Lives = Lives { command: "cargo test -p room-runtime --test whole_lives", seeds: 500, steps: 60 };

/// The number of messages that the room remembers.
const LOGGED: u64 = 30;

/// A thing that a handler did, in the order of all rooms.
#[derive(Clone, Debug)]
enum Note {
    /// `on_connect` begins, and ends with success.
    Arrives(u64),
    Connected(u64),
    Resumed(u64, Vec<String>),
    Away(u64, Vec<String>),
    Closed {
        place: u64,
        is_lost: bool,
        topics: Vec<String>,
    },
    Joined(String),
    Left(String),
    /// The topics of a place after a change.
    Topics(u64, Vec<String>),
    Sent {
        index: u64,
        to: String,
    },
    Kicked(String),
    Purged,
    Set {
        n: u64,
        key: Option<String>,
        due_ms: u64,
        every: bool,
    },
    Cancelled(String),
    Alarm {
        n: u64,
        now_ms: u64,
    },
    AlarmDone(u64),
    Taken(u64),
    /// The Worker's call of this life of the room has an outcome.
    Answered {
        n: u64,
        life: u64,
        is_done: bool,
    },
    Undelivered(u64),
}

/// The time between two alarms of a schedule that repeats.
const PERIOD: Duration = Duration::from_millis(700);

thread_local! {
    static NOTES: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
    /// The index of the next message. It is not in the state, because a purge must not begin it again.
    static INDEX: Cell<u64> = const { Cell::new(0) };
    /// True if the next `on_start` panics.
    static START_PANICS: Cell<bool> = const { Cell::new(false) };
    /// The alarms that have failed once.
    static FAILED: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

fn note(what: Note) {
    NOTES.with_borrow_mut(|notes| notes.push(what));
}

/// A version of the room, with the names of the fields in all its schemas, and those of the other version.
macro_rules! hall {
    ($(#[$doc:meta])* $name:ident, $ledger:ident as $l:literal, $place:ident as $p:literal, $n:ident as $m:literal, $index:ident as $i:literal) => {
        $(#[$doc])*
        #[room_runtime::room(reconnect_grace = "20s", replay(messages = 30), codec = "json, msgpack", purge_after = "12h")]
        mod $name {
            use std::time::Duration;

            use room_runtime::prelude::*;

            use super::{FAILED, INDEX, Note, PERIOD, START_PANICS, desk, note};

            #[derive(Default)]
            pub struct State {
                /// The clients and their changes, in the order in which they were handled.
                #[serde(alias = $l)]
                pub $ledger: Vec<(String, u64)>,
                /// The durable calls.
                pub calls: Vec<u64>,
            }

            pub struct Connection {
                #[serde(alias = $p)]
                pub $place: u64,
                pub slow_ms: u64,
                /// The handler that panics, or `refuse` for an `on_connect` that refuses.
                pub mood: String,
            }

            pub enum Event {
                Do {
                    #[serde(alias = $m)]
                    $n: u64,
                    by: String,
                    act: String,
                    arg: String,
                    ms: u64,
                    end: String,
                },
            }

            pub enum Broadcast {
                Said {
                    #[serde(alias = $i)]
                    $index: u64,
                },
            }

            pub struct Alarm {
                #[serde(alias = $m)]
                pub $n: u64,
                pub ms: u64,
                pub end: String,
            }

            async fn wait(ctx: &Ctx, ms: u64) {
                if ms > 0 {
                    ctx.sleep(Duration::from_millis(ms)).await;
                }
            }

            fn panic_in(peer: &Peer, handler: &str) {
                assert!(peer.data().mood != handler, "{handler} panics");
            }

            pub fn on_start(_: &Ctx) {
                assert!(!START_PANICS.take(), "on_start panics");
            }

            pub fn on_upgrade(_: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
                assert!(upgrade.data.mood != "on_upgrade", "on_upgrade panics");
                Ok(())
            }

            pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
                note(Note::Arrives(peer.data().$place));
                wait(ctx, peer.data().slow_ms).await;
                panic_in(peer, "on_connect");
                if peer.data().mood == "refuse" {
                    return Err(ctx.refuse("not you"));
                }
                note(Note::Connected(peer.data().$place));
                Ok(())
            }

            pub fn on_resume(_: &Ctx, peer: &Peer) {
                note(Note::Resumed(peer.data().$place, peer.topics()));
                panic_in(peer, "on_resume");
            }

            pub async fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
                note(Note::Away(peer.data().$place, peer.topics()));
                wait(ctx, peer.data().slow_ms).await;
                panic_in(peer, "on_away");
                Ok(())
            }

            pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
                note(Note::Closed { place: peer.data().$place, is_lost: close.is_lost(), topics: peer.topics() });
                wait(ctx, peer.data().slow_ms).await;
                panic_in(peer, "on_close");
                Ok(())
            }

            pub fn on_join(ctx: &Ctx, user: &PeerId) {
                note(Note::Joined(user.to_string()));
                ctx.sender().into_iter().for_each(|peer| panic_in(peer, "on_join"));
            }

            pub fn on_leave(ctx: &Ctx, user: &PeerId) {
                note(Note::Left(user.to_string()));
                ctx.sender().into_iter().for_each(|peer| panic_in(peer, "on_leave"));
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                let Event::Do { $n, by, act, arg, ms, end } = event;
                act_on(ctx, $n, by, &act, &arg, ms, &end).await
            }

            #[call]
            pub async fn perform(ctx: &Ctx, n: u64, by: String, act: String, arg: String, ms: u64, end: String) -> Result<u64> {
                act_on(ctx, n, by, &act, &arg, ms, &end).await?;
                Ok(n * 10)
            }

            async fn act_on(ctx: &Ctx, n: u64, by: String, act: &str, arg: &str, ms: u64, end: &str) -> Result {
                if end != "late" {
                    wait(ctx, ms).await;
                }
                match end {
                    "fail" => return Err(Failure::msg("it fails")),
                    "refuse" => return Err(ctx.refuse("no")),
                    "panic" => panic!("the event panics"),
                    _ => {}
                }
                // An event that is interrupted while it waits is handled again from its beginning.
                if end != "late" {
                    ctx.update(|state| state.$ledger.push((by.clone(), n)))?;
                }
                match act {
                    "say" => say(ctx, arg)?,
                    "subscribe" | "unsubscribe" => {
                        if let Some(peer) = ctx.sender() {
                            let changed = if act == "subscribe" { peer.subscribe(arg) } else { peer.unsubscribe(arg) };
                            changed?;
                            note(Note::Topics(peer.data().$place, peer.topics()));
                        }
                    }
                    "alarm" => {
                        let key = (!arg.is_empty()).then(|| arg.to_owned());
                        let every = end == "every";
                        let end = if ["fail_alarm", "panic_alarm"].contains(&end) { end } else { "" };
                        let mut schedule = ctx.schedule(Alarm { $n: n, ms: ms / 2, end: end.to_owned() });
                        if let Some(key) = &key {
                            schedule = schedule.key(key);
                        }
                        let due = if every { PERIOD } else { Duration::from_millis(ms * 5) };
                        if every { schedule.every(PERIOD)? } else { schedule.after(due)? };
                        note(Note::Set { n, key, due_ms: ctx.now_ms() + due.as_millis() as u64, every });
                    }
                    "cancel" => {
                        ctx.cancel_keyed(arg)?;
                        note(Note::Cancelled(arg.to_owned()));
                    }
                    "tell" => {
                        ctx.update(|state| state.calls.push(n))?;
                        ctx.room::<desk::Room>("desk")?.send(&desk::Event::Take { n, ms }).durably()?;
                    }
                    "kick" => {
                        note(Note::Kicked(arg.to_owned()));
                        ctx.peers().with_id(arg).close(CloseCode::POLICY, "out")?;
                    }
                    "purge" => {
                        let purged: Result = ctx.purge();
                        let error = purged.as_ref().err().and_then(|failure| failure.downcast_ref::<room_runtime::Error>());
                        if error.is_some_and(|error| error.kind() == ErrorKind::Purged) {
                            note(Note::Purged);
                        }
                        return purged;
                    }
                    _ => {}
                }
                if end == "late" {
                    wait(ctx, ms).await;
                    ctx.update(|state| state.$ledger.push((by, n)))?;
                }
                Ok(())
            }

            fn say(ctx: &Ctx, to: &str) -> Result {
                let index = INDEX.replace(INDEX.get() + 1);
                let message = Broadcast::Said { $index: index };
                match to.split_once(' ') {
                    Some(("not", id)) => ctx.peers().filter(|peer| peer.id().as_str() != id).send(&message)?,
                    Some(("only", id)) => ctx.peers().with_id(id).send(&message)?,
                    Some((_, topic)) => ctx.topic(topic).send(&message)?,
                    None => ctx.broadcast(&message)?,
                };
                note(Note::Sent { index, to: to.to_owned() });
                Ok(())
            }

            pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
                let Alarm { $n: n, ms, end } = alarm;
                note(Note::Alarm { n, now_ms: ctx.now_ms() });
                wait(ctx, ms).await;
                if !end.is_empty() && FAILED.with_borrow_mut(|failed| failed.insert(n)) {
                    assert!(end != "panic_alarm", "the alarm panics");
                    return Err(Failure::msg("the alarm fails"));
                }
                note(Note::AlarmDone(n));
                Ok(())
            }

            pub fn on_undelivered(_: &Ctx, undelivered: &Undelivered) -> Result {
                if let Some(desk::Event::Take { n, .. }) = undelivered.event::<desk::Room>()? {
                    note(Note::Undelivered(n));
                }
                Ok(())
            }
        }
    };
}

hall! {
    /// The first version.
    one, ledger as "entries", place as "seat", n as "number", index as "position"
}

hall! {
    /// A version in which a field of each schema has another name. Each reads the names of both.
    two, entries as "ledger", seat as "place", number as "n", position as "index"
}

/// The target of the durable calls.
#[room_runtime::room]
mod desk {
    use std::time::Duration;

    use super::{Note, note};

    #[derive(Default)]
    pub struct State {
        pub taken: Vec<u64>,
    }
    pub struct Connection {}
    pub enum Event {
        Take { n: u64, ms: u64 },
    }
    pub enum Broadcast {
        Nothing,
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Take { n, ms } = event;
        if ms > 0 {
            ctx.sleep(Duration::from_millis(ms)).await;
        }
        ctx.update(|state| state.taken.push(n))?;
        note(Note::Taken(n));
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Json,
    Packed,
}

const CLIENTS: [(&str, Kind); 5] =
    [("ann", Kind::Json), ("bob", Kind::Packed), ("cat", Kind::Plain), ("ann", Kind::Plain), ("bob", Kind::Json)];
const USERS: [&str; 3] = ["ann", "bob", "cat"];
const TOPICS: [&str; 2] = ["a", "a:b"];
const KEYS: [&str; 2] = ["k", "l"];

/// A place of the room, as the model knows it.
#[derive(Debug, Default)]
struct Place {
    user: String,
    /// The life of the room, which a purge ends.
    life: u64,
    is_admitted: bool,
    /// True once something was done that ends it for good.
    is_ending: bool,
    /// True once it can have lost its connection by a restart, or in another way.
    may_be_lost: bool,
    may_be_left: bool,
    closes: u32,
    /// True if storage failed when its `on_close` ran, so that it can run again.
    may_close_again: bool,
    /// True if storage failed when it lost its connection, so that a crash leaves it in the roster, and nobody reaches it.
    is_unsure: bool,
    /// True if the clock was set forward, so that its grace can be over while its `on_away` still waits.
    may_be_over: bool,
    topics: BTreeSet<String>,
}

/// The messages that a client got since its last gap.
#[derive(Debug)]
struct Stretch {
    place: u64,
    /// The first message that it has to have.
    from: u64,
    got: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// The room restarted while it was handled.
    Unknown,
}

struct Client {
    name: String,
    user: &'static str,
    kind: Kind,
    peer: Option<TestPeer<one::Room>>,
    /// Connections that it gave up.
    old: Vec<TestPeer<one::Room>>,
    token: Option<String>,
    /// The place at which it got the token.
    token_of: u64,
    place: u64,
    /// The life of the room in which its session began.
    life: u64,
    next: u64,
    /// The events without an outcome: their numbers, and their frames.
    unsettled: VecDeque<(u64, u64, Value)>,
    /// The outcomes in this life of the room.
    outcomes: BTreeMap<u64, Outcome>,
    is_welcomed: bool,
    at: u64,
    /// The number of messages that were sent when it last heard all.
    heard: u64,
    stretches: Vec<Stretch>,
}

#[derive(Debug)]
struct Alarm {
    key: Option<String>,
    due_ms: u64,
    every: bool,
    is_done: bool,
    is_gone: bool,
    /// True if storage failed at its end, so that it fires again.
    repeats: bool,
    /// True if this time of it has begun, so that a retry can follow.
    has_begun: bool,
}

struct Life {
    world: World,
    room: TestRoom<one::Room>,
    desk: TestRoom<desk::Room>,
    dice: Dice,
    run: Run,
    is_second: bool,
    writes_fail: bool,
    /// True while the desk can store nothing, so that it undoes what it has done.
    desk_undoes: bool,
    clients: Vec<Client>,
    places: BTreeMap<u64, Place>,
    life: u64,
    next_place: u64,
    /// The number of the next act.
    next: u64,
    joined: BTreeSet<String>,
    alarms: BTreeMap<u64, Alarm>,
    /// The messages, with the places that have to get them and those that may.
    messages: BTreeMap<u64, (BTreeSet<u64>, BTreeSet<u64>)>,
    taken: BTreeSet<u64>,
    /// The acts of the Worker, and those that have succeeded in this life of the room.
    asked: Vec<u64>,
    /// Those of earlier lives, which may be running or repeated.
    asked_before: Vec<u64>,
    answered: BTreeSet<u64>,
}

impl Life {
    fn new(run: &Run) -> Life {
        NOTES.take();
        FAILED.take();
        INDEX.set(0);
        START_PANICS.set(false);
        let world = run.world();
        let clients = CLIENTS.iter().enumerate().map(|(at, (user, kind))| Client {
            name: format!("{user}{at}"),
            user,
            kind: *kind,
            peer: None,
            old: Vec::new(),
            token: None,
            token_of: 0,
            place: 0,
            life: 0,
            next: 1,
            unsettled: VecDeque::new(),
            outcomes: BTreeMap::new(),
            is_welcomed: false,
            at: 0,
            heard: 0,
            stretches: Vec::new(),
        });
        Life {
            room: world.room("hall"),
            desk: world.room("desk"),
            world,
            dice: Dice::new(run.seed()),
            run: run.clone(),
            is_second: false,
            writes_fail: false,
            desk_undoes: false,
            clients: clients.collect(),
            places: BTreeMap::new(),
            life: 0,
            next_place: 0,
            next: 0,
            joined: BTreeSet::new(),
            alarms: BTreeMap::new(),
            messages: BTreeMap::new(),
            taken: BTreeSet::new(),
            asked: Vec::new(),
            asked_before: Vec::new(),
            answered: BTreeSet::new(),
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.run.note(what);
    }

    fn step(&mut self) {
        if self.writes_fail && self.dice.once_in(3) {
            self.fail_writes(false);
        }
        let at = self.dice.below(CLIENTS.len() as u64) as usize;
        match self.dice.below(28) {
            0..5 => self.connect(at),
            5..13 => self.act(at),
            13..16 => {
                let ms = if self.dice.once_in(4) { self.dice.below(30_000) } else { self.dice.below(60) };
                self.tell(|| format!("advance {ms}"));
                self.world.advance(Duration::from_millis(ms));
            }
            16 | 17 if !self.room.is_busy() => {
                self.tell(|| "hibernate".to_owned());
                self.room.hibernate();
            }
            18 => {
                self.tell(|| "crash".to_owned());
                self.room.crash();
            }
            19 if self.dice.once_in(2) => {
                self.tell(|| "restart".to_owned());
                self.lose_connections();
                self.room.restart();
            }
            19 | 20 => self.deploy(),
            21 | 22 => self.leave(at),
            23 => self.ask(),
            24 => {
                let ms = self.dice.below(40_000) as i64 - 20_000;
                self.tell(|| format!("the clock is set by {ms}"));
                self.world.step_clock(ms);
                self.places.values_mut().for_each(|place| place.may_be_over |= ms > 0);
            }
            25 => self.trouble_the_desk(),
            26 if self.dice.once_in(2) => self.fail_writes(true),
            26 => {
                self.tell(|| "the next start panics".to_owned());
                START_PANICS.set(true);
            }
            _ => {
                if let Some(old) = self.clients[at].old.pop() {
                    self.tell(|| format!("an old connection of {} ends", self.clients[at].name));
                    old.disconnect();
                }
            }
        }
        self.heed();
        for at in 0..CLIENTS.len() {
            // Frames that are not read by then are lost with the connection.
            if !self.dice.once_in(4) {
                self.listen(at);
            }
        }
        // Clients that are welcomed send what they have kept.
        self.heed();
        self.check_ledger();
    }

    fn fail_writes(&mut self, fail: bool) {
        self.tell(|| format!("writes fail: {fail}"));
        self.writes_fail = fail;
        // A resume that is not stored is no longer known after a crash.
        self.places.values_mut().for_each(|place| place.may_be_lost |= fail);
        self.room.fail_writes(fail);
    }

    fn lose_connections(&mut self) {
        self.heed();
        self.places.values_mut().for_each(|place| place.may_be_lost = true);
    }

    fn deploy(&mut self) {
        self.is_second = !self.is_second;
        self.tell(|| format!("deploy of the second version: {}", self.is_second));
        self.lose_connections();
        // The types of the first are from now on those of older clients and Workers, or of the present ones.
        match self.is_second {
            true => drop(self.room.deploy::<two::Room>()),
            false => drop(self.room.deploy::<one::Room>()),
        }
    }

    fn trouble_the_desk(&mut self) {
        let what = self.dice.below(5);
        let fails = self.dice.once_in(2);
        self.tell(|| format!("the desk: {what} {fails}"));
        match what {
            0 => self.desk.crash(),
            1 => self.desk.restart(),
            2 => self.desk.fail_calls(fails),
            3 => self.desk.lose_answers(fails),
            _ => {
                self.desk.fail_writes(fails);
                self.heed();
                self.desk_undoes = fails;
            }
        }
    }

    // Clients.

    fn connect(&mut self, at: usize) {
        let keeps_old = self.dice.once_in(3);
        let slow_ms = if self.dice.once_in(4) { self.dice.below(60) } else { 0 };
        let moods = ["on_upgrade", "on_connect", "on_resume", "on_away", "on_close", "on_join", "on_leave", "refuse"];
        let mood = if self.dice.once_in(4) { moods[self.dice.below(8) as usize] } else { "" };
        let on_duplicate = match self.dice.below(8) {
            0 => OnDuplicate::Replace,
            1 => OnDuplicate::Reject,
            _ => OnDuplicate::Allow,
        };
        self.next_place += 1;
        let number = self.next_place;
        self.tell(|| {
            format!("{} connects as {number}, slow {slow_ms}, {mood}, {on_duplicate:?}", self.clients[at].name)
        });
        self.begin_connection(at, keeps_old, (slow_ms, mood), on_duplicate);
    }

    fn begin_connection(
        &mut self,
        at: usize,
        keeps_old: bool,
        (slow_ms, mood): (u64, &str),
        on_duplicate: OnDuplicate,
    ) {
        let number = self.next_place;
        if let Some(old) = self.clients[at].peer.take() {
            if let Some(place) = self.places.get_mut(&self.clients[at].place) {
                place.may_be_left = true;
                place.is_unsure |= self.writes_fail;
            }
            if keeps_old {
                self.clients[at].old.push(old);
            } else {
                old.disconnect();
            }
        }
        self.heed();
        self.clients[at].is_welcomed = false;
        let client = &self.clients[at];
        let (user, old_place) = (client.user, client.place);
        let knows_token = client.token_of == old_place;
        let is_here = self.places.get(&old_place).is_some_and(|place| knows_token && self.may_resume(place));
        let data = one::Connection { place: number, slow_ms, mood: mood.to_owned() };
        let mut upgrade = Upgrade::new(data).id(user).on_duplicate(on_duplicate);
        let lowest = client.unsettled.front().map_or(client.next, |(number, ..)| *number);
        let offer = client.token.as_ref().map(|token| format!(", room.v1.resume.{token}.{lowest}.{}", client.at));
        let offer = offer.unwrap_or_default();
        let protocols = match client.kind {
            Kind::Plain => "room.json".to_owned(),
            Kind::Json => format!("room.v1{offer}"),
            Kind::Packed => format!("room.v1.msgpack{offer}"),
        };
        if let (Kind::Plain, Some(token)) = (client.kind, &client.token) {
            upgrade = upgrade.resume(token);
        }
        let mut spared = Vec::new();
        if on_duplicate == OnDuplicate::Replace {
            for (number, place) in self.places.iter_mut().filter(|(_, place)| place.user == user) {
                if *number != old_place || !is_here {
                    if !place.is_ending {
                        spared.push(*number);
                    }
                    (place.is_ending, place.may_be_left) = (true, true);
                }
            }
        }
        let place = Place { user: user.to_owned(), life: self.life, may_be_lost: self.writes_fail, ..Place::default() };
        self.places.insert(number, place);
        let request = http::Request::get("/").header("sec-websocket-protocol", protocols).body(());
        let peer = self.room.try_connect_with(request.expect("a request"), upgrade).ok();
        let notes = NOTES.with_borrow(Vec::clone);
        let is_new = notes.iter().any(|note| matches!(note, Note::Arrives(place) if *place == number));
        let was_purged = notes.iter().any(|note| matches!(note, Note::Purged));
        self.heed();
        let is_open = peer.as_ref().is_some_and(TestPeer::is_open);
        if !is_open {
            // Nobody was replaced, unless the peer was let in and then closed.
            if self.places.get(&number).is_some_and(|place| !place.is_admitted) {
                for place in spared {
                    if let Some(place) = self.places.get_mut(&place).filter(|place| place.closes == 0) {
                        place.is_ending = false;
                    }
                }
            }
        }
        let Some(peer) = peer else { return };
        let refused = peer.closed().is_some_and(|(code, reason)| code == 1011 || (code == 1008 && reason != "out"));
        if is_new && refused {
            // It was not let in, or a crash in its `on_connect` closed it.
            self.places.get_mut(&number).expect("known").is_admitted = false;
        }
        if is_open && is_new && is_here && !was_purged {
            let place = &self.places[&old_place];
            assert!(
                !self.may_resume(place),
                "{}: the place {old_place} is there, and was not resumed",
                self.clients[at].name
            );
        }
        let sent = self.messages.len() as u64;
        let client = &mut self.clients[at];
        if is_new {
            client.place = number;
        }
        let place = client.place;
        client.peer = Some(peer);
        if client.kind == Kind::Plain {
            client.stretches.push(Stretch { place, from: INDEX.get(), got: Vec::new() });
            client.heard = sent;
        }
    }

    /// Returns whether a place is there for a client that comes back.
    fn may_resume(&self, place: &Place) -> bool {
        place.is_admitted && !place.is_ending && !place.may_be_over && place.closes == 0 && place.life == self.life
    }

    fn leave(&mut self, at: usize) {
        let how = self.dice.below(5);
        let client = &self.clients[at];
        let Some(peer) = &client.peer else { return };
        self.tell(|| format!("{} leaves, {how}", client.name));
        if let Some(place) = self.places.get_mut(&client.place) {
            place.may_be_left = true;
            place.is_unsure |= self.writes_fail;
            place.is_ending |= how == 0 && peer.is_open();
        }
        match how {
            0 => peer.close(),
            1 => peer.close_with(CloseCode::AWAY, ""),
            2 | 3 => peer.disconnect(),
            _ => peer.stop_responding(),
        }
    }

    /// Lets a client act once or several times.
    fn act(&mut self, at: usize) {
        for _ in 0..=self.dice.below(3) {
            self.next += 1;
            let n = self.next;
            let ms = if self.dice.once_in(2) { 0 } else { self.dice.below(40) };
            let acts =
                ["say", "say", "say", "say", "subscribe", "unsubscribe", "alarm", "alarm", "cancel", "tell", "kick"];
            let mut act = acts[self.dice.below(acts.len() as u64) as usize];
            if act == "kick" && self.dice.once_in(4) {
                act = "purge";
            }
            let ends = ["", "", "", "", "late", "fail", "refuse", "panic"];
            let mut end = ends[self.dice.below(8) as usize];
            if end == "late" && !["say", "subscribe", "unsubscribe"].contains(&act) {
                end = "";
            }
            let arg = match act {
                "say" => match self.dice.below(4) {
                    0 => format!("not {}", self.user()),
                    1 => format!("only {}", self.user()),
                    2 => format!("topic {}", TOPICS[self.dice.below(2) as usize]),
                    _ => String::new(),
                },
                "subscribe" | "unsubscribe" => TOPICS[self.dice.below(2) as usize].to_owned(),
                "alarm" => {
                    end = ["", "", "every", "fail_alarm", "panic_alarm"][self.dice.below(5) as usize];
                    let key = self.dice.below(3) as usize;
                    KEYS.get(key).filter(|_| true).copied().unwrap_or(if end == "every" { "k" } else { "" }).to_owned()
                }
                "cancel" => KEYS[self.dice.below(2) as usize].to_owned(),
                "kick" => self.user().to_owned(),
                _ => String::new(),
            };
            let client = &mut self.clients[at];
            let by = client.name.clone();
            let mut event = json!({ "by": by, "act": act, "arg": arg, "ms": ms, "end": end });
            let is_call = n.is_multiple_of(3) && client.kind != Kind::Plain;
            self.run.note(|| format!("{by} does {n}, as a call: {is_call}, {event}"));
            if is_call {
                event["n"] = n.into();
            } else {
                event["type"] = "Do".into();
                // Clients of both versions are there.
                event[if n.is_multiple_of(2) { "n" } else { "number" }] = n.into();
            }
            match client.kind {
                Kind::Plain => {
                    if let Some(peer) = &client.peer {
                        peer.send_raw(event.to_string());
                    }
                }
                _ => {
                    let number = client.next;
                    client.next += 1;
                    client.unsettled.push_back((number, n, event));
                    client.transmit(number);
                }
            }
        }
    }

    fn user(&mut self) -> &'static str {
        USERS[self.dice.below(3) as usize]
    }

    /// Lets the Worker call, or repeat a call.
    fn ask(&mut self) {
        let repeated = (!self.asked.is_empty() && self.dice.once_in(3))
            .then(|| self.asked[self.dice.below(self.asked.len() as u64) as usize]);
        let n = repeated.unwrap_or_else(|| {
            self.next += 1;
            self.asked.push(self.next);
            self.next
        });
        // A repeated call is the same call.
        let (ms, act) = (n % 30, if n.is_multiple_of(4) { "tell" } else { "say" });
        let loses = self.dice.once_in(4);
        self.tell(|| format!("the Worker asks for {n}, {act}, waits {ms}, the answer is lost: {loses}"));
        let event =
            one::Event::Do { n, by: "worker".into(), act: act.into(), arg: String::new(), ms, end: String::new() };
        let call = self.room.handle().send(&event).idempotency_key(format!("k{n}"));
        self.room.lose_answers(loses);
        let life = self.life;
        self.world.spawn(async move {
            let is_done = call.await.is_ok();
            note(Note::Answered { n, life, is_done });
        });
        self.world.advance(Duration::ZERO);
        self.room.lose_answers(false);
    }

    // The model.

    /// Takes the notes of the handlers into the model.
    fn heed(&mut self) {
        for what in NOTES.take() {
            self.tell(|| format!("    {what:?}"));
            self.heed_one(what);
        }
    }

    fn heed_one(&mut self, what: Note) {
        match what {
            Note::Arrives(place) => self.place(place).life = self.life,
            Note::Connected(place) => self.place(place).is_admitted = true,
            Note::Resumed(number, topics) | Note::Away(number, topics) => {
                let place = self.place(number);
                assert!(place.closes == 0 || place.may_close_again, "{number} is here after its on_close");
                // Its end could not be stored, so it is there again.
                place.closes = 0;
                (place.is_unsure, place.may_be_over) = (false, false);
                place.has(number, topics);
            }
            Note::Closed { place: number, is_lost, topics } => {
                let (writes_fail, life) = (self.writes_fail, self.life);
                let place = self.place(number);
                assert!(place.life == life, "{number} has an on_close after a purge");
                assert!(place.is_admitted, "{number} has an on_close and was not let in");
                assert!(place.closes == 0 || place.may_close_again, "{number} has two on_close");
                assert!(
                    !is_lost || place.may_be_lost || place.may_close_again,
                    "{number} is lost, and nothing restarted"
                );
                assert!(is_lost || place.may_be_left, "{number} has left by itself");
                place.closes += 1;
                place.may_close_again |= writes_fail;
                place.has(number, topics);
            }
            Note::Topics(number, topics) => self.place(number).topics = topics.into_iter().collect(),
            Note::Joined(user) => assert!(self.joined.insert(user.clone()), "{user} joins twice"),
            Note::Left(user) => assert!(self.joined.remove(&user), "{user} leaves, and has not joined"),
            Note::Sent { index, to } => self.sent(index, &to),
            Note::Kicked(user) => {
                for place in self.places.values_mut().filter(|place| place.user == user) {
                    (place.is_ending, place.may_be_left) = (true, true);
                }
            }
            Note::Purged => {
                self.life += 1;
                self.joined.clear();
                self.alarms.clear();
                self.answered.clear();
                // In the next life a call with the same key is another one.
                self.asked_before.append(&mut self.asked);
            }
            Note::Set { n, key, due_ms, every } => {
                if let Some(key) = &key {
                    self.replace_alarm(key);
                }
                self.alarms.insert(
                    n,
                    Alarm { key, due_ms, every, is_done: false, is_gone: false, repeats: false, has_begun: false },
                );
            }
            Note::Cancelled(key) => self.replace_alarm(&key),
            Note::Alarm { n, now_ms } => {
                let alarm = self.alarms.get_mut(&n).unwrap_or_else(|| panic!("the alarm {n} is of an earlier life"));
                // The clock may be set back before a retry.
                let was_due = std::mem::replace(&mut alarm.has_begun, true);
                assert!(now_ms >= alarm.due_ms || was_due, "the alarm {n} is {} ms early", alarm.due_ms - now_ms);
                assert!(!alarm.is_gone, "the alarm {n} fires, and was cancelled or replaced");
                assert!(!alarm.is_done || alarm.repeats, "the alarm {n} fires twice");
            }
            Note::AlarmDone(n) => {
                let writes_fail = self.writes_fail;
                // The schedule may have been replaced, or the room purged, while the handler waited.
                let Some(alarm) = self.alarms.get_mut(&n) else { return };
                alarm.repeats |= writes_fail;
                alarm.is_done = !alarm.every;
                if alarm.every && !writes_fail {
                    alarm.has_begun = false;
                    alarm.due_ms += PERIOD.as_millis() as u64;
                }
            }
            Note::Taken(n) if self.desk_undoes || self.asked_before.contains(&n) => {}
            Note::Taken(n) => assert!(self.taken.insert(n), "the durable call {n} arrives twice"),
            Note::Answered { n, life, is_done } => {
                if is_done && life == self.life {
                    self.answered.insert(n);
                }
            }
            Note::Undelivered(n) => panic!("the durable call {n} was given up"),
        }
    }

    fn place(&mut self, number: u64) -> &mut Place {
        self.places.get_mut(&number).unwrap_or_else(|| panic!("nobody has asked for the place {number}"))
    }

    fn replace_alarm(&mut self, key: &str) {
        let same = self.alarms.values_mut().filter(|alarm| alarm.key.as_deref() == Some(key));
        same.for_each(|alarm| alarm.is_gone = true);
    }

    /// Notes for which places a message is.
    fn sent(&mut self, index: u64, to: &str) {
        let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
        let there = self
            .places
            .iter()
            .filter(|(_, place)| place.life == self.life && (place.closes == 0 || place.may_close_again));
        for (number, place) in there {
            let is_for = match to.split_once(' ') {
                Some(("not", id)) => place.user != id,
                Some(("only", id)) => place.user == id,
                Some((_, topic)) => place.topics.contains(topic),
                None => true,
            };
            if is_for && place.is_admitted && !place.is_ending && place.closes == 0 && !place.is_unsure {
                must.insert(*number);
            } else if is_for {
                may.insert(*number);
            }
        }
        self.messages.insert(index, (must, may));
    }

    fn listen(&mut self, at: usize) {
        let (sent, life) = (self.messages.len() as u64, self.life);
        while let Some(frame) = self.clients[at].peer.as_ref().and_then(TestPeer::receive_any) {
            if self.clients[at].kind == Kind::Plain {
                let TestFrame::Text(text) = frame else { panic!("{frame:?}") };
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                let client = &mut self.clients[at];
                if let Some(token) = frame.pointer("/$room/resume") {
                    client.token = token.as_str().map(str::to_owned);
                    client.token_of = client.place;
                } else if frame.get("$room").is_none() {
                    client.stretches.last_mut().expect("it is connected").got.push(index_of(&frame));
                }
                continue;
            }
            let frame: Vec<Value> = match frame {
                TestFrame::Text(text) => serde_json::from_str(&text).expect("a list"),
                TestFrame::Binary(bytes) => rmp_serde::from_slice(&bytes).expect("a list"),
                other => panic!("{other:?}"),
            };
            let controls = frame[0].as_array().expect("controls").clone();
            let (welcome, others): (Vec<_>, Vec<_>) =
                controls.into_iter().partition(|control| control.get("welcome").is_some());
            welcome.iter().for_each(|control| self.welcomed(at, &control["welcome"]));
            let client = &mut self.clients[at];
            let stretch = client.stretches.last_mut().expect("the first frame is a welcome");
            stretch.got.extend(frame[1..].iter().map(index_of));
            others.iter().for_each(|control| client.obey(control));
        }
        let client = &mut self.clients[at];
        if client.peer.is_some() {
            client.heard = sent;
        }
        if client.peer.as_ref().is_some_and(|peer| !peer.is_open()) {
            client.peer = None;
        }
        if client.kind == Kind::Plain && client.life != life {
            client.life = life;
        }
    }

    fn welcomed(&mut self, at: usize, welcome: &Value) {
        let (sent, life) = (self.messages.len() as u64, self.life);
        let client = &mut self.clients[at];
        let is_known = client.token.is_some() && client.life == life;
        let place = &self.places[&client.place];
        // A purge between the welcome and its reading ends the session.
        if place.life == life {
            assert_eq!(welcome["resumed"], is_known, "{}: {welcome}", client.name);
        }
        client.token = welcome["session"].as_str().map(str::to_owned);
        client.token_of = client.place;
        client.is_welcomed = true;
        if welcome["resumed"] == false {
            client.life = place.life;
            client.next = 1;
            client.unsettled.clear();
            client.outcomes.clear();
        }
        if welcome["gap"] == true || welcome["resumed"] == false {
            client.at = welcome["at"].as_u64().unwrap_or(0);
            let goes_on = client.stretches.last().is_some_and(|stretch| stretch.place == client.place);
            let is_short = sent - client.heard < LOGGED;
            assert!(!(goes_on && is_known && is_short), "{} has a gap after {} of {sent}", client.name, client.heard);
            client.stretches.push(Stretch { place: client.place, from: INDEX.get(), got: Vec::new() });
        }
        client.transmit(welcome["last"].as_u64().expect("a number") + 1);
    }

    fn state(&self) -> Value {
        self.room.stored_state().map_or(Value::Null, |json| serde_json::from_str(&json).expect("JSON"))
    }

    /// Checks that each acknowledged change is stored once, in the order of its client.
    fn check_ledger(&mut self) {
        let state = self.state();
        let ledger = state.get("ledger").or_else(|| state.get("entries")).and_then(Value::as_array);
        let mut by_client: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for entry in ledger.into_iter().flatten() {
            let of = by_client.entry(entry[0].as_str().expect("a name")).or_default();
            of.push(entry[1].as_u64().expect("a number"));
        }
        for client in self.clients.iter().filter(|client| client.life == self.life) {
            let stored = by_client.get(&*client.name).map_or(&[][..], Vec::as_slice);
            // Two connections of a plain client are handled side by side.
            let is_ordered = client.kind == Kind::Plain || stored.is_sorted_by(|a, b| a < b);
            assert!(is_ordered, "{}: out of order, or twice: {stored:?}", client.name);
            for (n, outcome) in &client.outcomes {
                match outcome {
                    Outcome::Done => assert!(stored.contains(n), "{}: {n} is acknowledged and lost", client.name),
                    Outcome::Failed => assert!(!stored.contains(n), "{}: {n} failed and is there", client.name),
                    Outcome::Unknown => {}
                }
            }
        }
        let worker = by_client.get("worker").map_or(&[][..], Vec::as_slice);
        let once: BTreeSet<u64> = worker.iter().copied().collect();
        assert_eq!(once.len(), worker.len(), "a call of the Worker is handled twice: {worker:?}");
        for n in &self.answered {
            assert!(once.contains(n), "the Worker's call {n} is answered and lost");
        }
    }

    fn check_stretches(&self) {
        for client in &self.clients {
            for (at, stretch) in client.stretches.iter().enumerate() {
                let (name, Stretch { place, from, got }) = (&client.name, stretch);
                assert!(got.is_sorted_by(|a, b| a < b), "{name}: twice, or out of order: {got:?}");
                for index in got {
                    let known = self.messages.get(index);
                    let is_for = known.is_some_and(|(must, may)| must.contains(place) || may.contains(place));
                    assert!(is_for, "{name} at {place} got {index}, which was not for it");
                }
                let is_live = at + 1 == client.stretches.len() && client.peer.is_some();
                let end = if is_live { INDEX.get() } else { got.last().copied().unwrap_or(0) };
                for (index, (must, _)) in self.messages.range(*from..end.max(*from)) {
                    assert!(
                        !must.contains(place) || got.contains(index),
                        "{name} at {place} has missed {index}: {got:?}"
                    );
                }
            }
        }
    }

    // The end.

    /// Connects every client, and waits until each of their events has its outcome.
    fn settle_all(&mut self) {
        for round in 0.. {
            for at in 0..CLIENTS.len() {
                if self.clients[at].peer.is_none() {
                    self.next_place += 1;
                    self.begin_connection(at, false, (0, ""), OnDuplicate::Allow);
                }
            }
            self.heed();
            (0..CLIENTS.len()).for_each(|at| self.listen(at));
            let is_settled = |client: &Client| client.unsettled.is_empty() && client.peer.is_some();
            if self.clients.iter().all(is_settled) {
                break;
            }
            self.world.advance(Duration::from_millis(100));
            self.heed();
            (0..CLIENTS.len()).for_each(|at| self.listen(at));
            let left: Vec<_> = self.clients.iter().map(|client| (&client.name, &client.unsettled)).collect();
            assert!(round < 100, "events without an outcome: {left:?}");
        }
    }

    fn end(&mut self) {
        self.tell(|| "the end".to_owned());
        START_PANICS.set(false);
        self.fail_writes(false);
        self.desk.fail_calls(false);
        self.desk.lose_answers(false);
        self.heed();
        self.desk.fail_writes(false);
        self.desk_undoes = false;
        for at in 0..CLIENTS.len() {
            std::mem::take(&mut self.clients[at].old).iter().for_each(TestPeer::disconnect);
        }
        self.heed();
        self.settle_all();
        // Handlers that still wait may set alarms, and close connections.
        self.world.advance(Duration::from_secs(1));
        self.heed();
        (0..CLIENTS.len()).for_each(|at| self.listen(at));
        self.settle_all();
        for key in KEYS {
            let end = String::new();
            let cancel = one::Event::Do { n: 0, by: String::new(), act: "cancel".into(), arg: key.into(), ms: 0, end };
            self.room.send(&cancel).expect("cancelled");
        }
        // The longest back-off of a durable call is ten minutes.
        for _ in 0..40 {
            self.world.advance(Duration::from_secs(30));
            self.heed();
            (0..CLIENTS.len()).for_each(|at| self.listen(at));
        }
        self.check_ledger();
        self.check_stretches();
        for (n, alarm) in &self.alarms {
            assert!(alarm.is_done || alarm.is_gone, "the alarm {n} is lost: {alarm:?}");
        }
        let state = self.state();
        let calls = state["calls"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let calls: Vec<u64> = calls.filter(|n| !self.asked_before.contains(n)).collect();
        let taken = self.desk.state().expect("readable").unwrap_or_default().taken;
        let arrived: Vec<u64> = taken.into_iter().filter(|n| calls.contains(n)).collect();
        assert_eq!(arrived, calls, "the durable calls arrive once and in order");
        // All leave.
        for at in 0..CLIENTS.len() {
            let client = &self.clients[at];
            let Some(peer) = &client.peer else { panic!("{} is gone", client.name) };
            if let Some(place) = self.places.get_mut(&client.place) {
                (place.is_ending, place.may_be_left) = (true, true);
            }
            peer.close();
        }
        self.world.advance(Duration::from_secs(60));
        self.heed();
        assert_eq!(self.room.peers(None).expect("the room answers").len(), 0, "the room is empty");
        self.world.advance(Duration::from_secs(700));
        self.heed();
        assert!(!self.room.is_busy(), "something never ends");
        // Some ends are handled late, at a start: that of a closed connection whose client never answers, and an end that
        // could not be stored, for which the place is kept for its grace once more.
        // An `on_close` that panics there leaves the `on_leave` to the next one.
        for _ in 0..2 {
            self.room.hibernate();
            self.room.peers(None).expect("the room answers");
            self.world.advance(Duration::from_secs(60));
            self.heed();
        }
        for (number, place) in &self.places {
            let is_over = place.closes > 0 || !place.is_admitted || place.life != self.life;
            assert!(is_over, "{number} never had its on_close: {place:?}");
        }
        assert!(self.joined.is_empty(), "users stay: {:?}", self.joined);
        assert_eq!(self.room.stats().expect("the room answers").schedules, 0, "no alarm is set");
        self.world.advance(Duration::from_secs(13 * 3_600));
        assert_eq!(self.room.stored_state(), None, "the room is purged");
        let loads = self.room.incarnations();
        self.room.hibernate();
        self.world.advance(Duration::from_secs(48 * 3_600));
        assert_eq!(self.room.incarnations(), loads, "a purged room sleeps");
        assert_eq!(self.room.stats().expect("the room answers").stored_bytes, 0, "nothing is left in storage");
    }
}

impl Place {
    fn has(&self, number: u64, topics: Vec<String>) {
        let topics: BTreeSet<_> = topics.into_iter().collect();
        assert_eq!(topics, self.topics, "the topics of {number}");
    }
}

fn index_of(message: &Value) -> u64 {
    let index = message.get("index").or_else(|| message.get("position"));
    index.and_then(Value::as_u64).unwrap_or_else(|| panic!("no message: {message}"))
}

impl Client {
    /// Sends every event without an outcome from this number on.
    fn transmit(&self, from: u64) {
        let Some(peer) = self.peer.as_ref().filter(|_| self.is_welcomed) else { return };
        let lowest = self.unsettled.front().map_or(self.next, |(number, ..)| *number);
        if lowest > from {
            self.write(peer, &json!({ "from": lowest }));
        }
        for (number, _, event) in self.unsettled.iter().filter(|(number, ..)| *number >= from) {
            match event.get("type") {
                Some(_) => self.write(peer, &json!([number, event])),
                None => self.write(peer, &json!([number, "perform", event])),
            }
        }
    }

    fn write(&self, peer: &TestPeer<one::Room>, frame: &Value) {
        match self.kind {
            Kind::Packed => peer.send_binary(rmp_serde::to_vec_named(frame).expect("encodes")),
            _ => peer.send_raw(frame.to_string()),
        }
    }

    fn settle(&mut self, number: u64, outcome: Outcome) {
        if let Some(at) = self.unsettled.iter().position(|(other, ..)| *other == number)
            && let Some((_, n, _)) = self.unsettled.remove(at)
        {
            self.outcomes.insert(n, outcome);
        }
    }

    fn obey(&mut self, control: &Value) {
        if let Some(number) = control.get("ack").and_then(Value::as_u64) {
            while let Some((lowest, _, event)) = self.unsettled.front()
                && *lowest <= number
            {
                assert!(event.get("type").is_some(), "{}: the call {lowest} has no answer", self.name);
                self.settle(*lowest, Outcome::Done);
            }
        } else if let Some(answer) = control.get("answer") {
            let number = answer["n"].as_u64().expect("a number");
            if let Some((_, n, _)) = self.unsettled.iter().find(|(other, ..)| *other == number) {
                assert_eq!(answer["value"], n * 10, "{}: the answer to {n}", self.name);
            }
            self.settle(number, Outcome::Done);
        } else if let Some(at) = control.get("at").and_then(Value::as_u64) {
            assert!(at > self.at, "{}: position {at} after {}", self.name, self.at);
            self.at = at;
        } else if let Some(number) = control.get("resend").and_then(Value::as_u64) {
            self.transmit(number);
        } else if let Some(error) = control.get("error") {
            let Some(number) = error["n"].as_u64() else { return };
            let failed = matches!(error["code"].as_str(), Some("refused"));
            self.settle(number, if failed { Outcome::Failed } else { Outcome::Unknown });
        } else {
            panic!("{}: {control}", self.name);
        }
    }
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
fn no_life_that_uses_everything_breaks_a_promise() {
    LIVES.run(live);
}
