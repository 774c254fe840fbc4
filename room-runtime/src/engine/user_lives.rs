//! A randomized test of the handlers of users, and the orders of events that a conformance case cannot produce.
//!
//! Users connect, replace each other, are refused, are kicked, reconnect and leave half-dead connections. The room
//! hibernates, crashes, restarts and is purged; its storage fails and has entries that do not decode.
//!
//! After every order of events these promises must hold: for each user `on_join` and `on_leave` alternate, and neither
//! begins while the other runs; presence contains the user in `on_join` and not in `on_leave`; and at the end the users
//! that have joined are those that are present.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --lib user_lives` repeats one life and tells it. `ROOM_SEEDS=…` sets the number of
//! lives.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Close, CloseCode, Failure, OnDuplicate, Peer, PeerId, Room, RoomContext, Upgrade,
    testing::{
        TestPeer, TestRoom, World,
        lives::{Dice, Lives, Run},
    },
};

const USERS: [&str; 3] = ["ann", "ben", "cat"];

/// The start or the end of a handler. The notes are kept outside of the room, because a crash must not delete them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    Join { by: Option<String>, is_present: bool },
    JoinEnds,
    Said,
    Close,
    Leave { by: Option<String>, is_present: bool },
    LeaveEnds,
}

thread_local! {
    static NOTES: RefCell<Vec<(String, Note)>> = const { RefCell::new(Vec::new()) };
}

fn note(user: impl ToString, what: Note) {
    NOTES.with_borrow_mut(|notes| notes.push((user.to_string(), what)));
}

/// A room with this grace.
#[derive(Debug)]
enum Street<const GRACE_MS: u64> {}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    name: String,
    /// The time for which the handlers of this peer wait.
    slow_ms: u64,
    on_connect: OnConnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum OnConnect {
    Succeeds,
    Fails,
    Closes,
}

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    Say,
    Kick { user: String },
    Purge,
}

impl<const GRACE_MS: u64> Room for Street<GRACE_MS> {
    const NAME: &'static str = "street";
    const BINDING: &'static str = "STREET";
    const CLASS: &'static str = "StreetRoom";
    const RECONNECT_GRACE_MS: u64 = GRACE_MS;
    type State = ();
    type Connection = Data;
    type Event = Event;
    type Broadcast = ();
    type Alarm = ();
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
        Ok(())
    }

    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }

    async fn on_connect(ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        wait(ctx, Some(peer)).await;
        match peer.data().on_connect {
            OnConnect::Succeeds => Ok(()),
            OnConnect::Fails => Err(Failure::msg("as told")),
            OnConnect::Closes => Ok(peer.close(CloseCode::POLICY, "sign in")?),
        }
    }

    async fn on_join(ctx: &RoomContext<Self>, user: &PeerId) -> Result<(), Failure> {
        let by = ctx.sender().map(|peer| peer.data().name.clone());
        note(user, Note::Join { by, is_present: is_present(ctx, user)? });
        wait(ctx, ctx.sender()).await;
        note(user, Note::JoinEnds);
        Ok(())
    }

    async fn on_event(ctx: &RoomContext<Self>, event: Event) -> Result<(), Failure> {
        match event {
            Event::Say => {
                note(ctx.sender().expect("only peers speak here").id(), Note::Said);
                wait(ctx, ctx.sender()).await;
            }
            Event::Kick { user } => drop(ctx.peers().with_id(user).close(CloseCode::POLICY, "out")?),
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, _close: Close) -> Result<(), Failure> {
        note(peer.id(), Note::Close);
        wait(ctx, Some(peer)).await;
        Ok(())
    }

    async fn on_leave(ctx: &RoomContext<Self>, user: &PeerId) -> Result<(), Failure> {
        let by = ctx.sender().map(|peer| peer.data().name.clone());
        note(user, Note::Leave { by, is_present: is_present(ctx, user)? });
        wait(ctx, ctx.sender()).await;
        note(user, Note::LeaveEnds);
        Ok(())
    }
}

async fn wait<const G: u64>(ctx: &RoomContext<Street<G>>, peer: Option<&Peer<Street<G>>>) {
    let ms = peer.map_or(0, |peer| peer.data().slow_ms);
    if ms > 0 {
        ctx.sleep(Duration::from_millis(ms)).await;
    }
}

fn is_present<const G: u64>(ctx: &RoomContext<Street<G>>, user: &PeerId) -> Result<bool, Failure> {
    Ok(ctx.presence()?.iter().any(|other| other.id == *user))
}

struct Client<const G: u64> {
    user: &'static str,
    token: Option<String>,
    peer: TestPeer<Street<G>>,
}

/// The visit of a user, as its handlers report it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    has_joined: bool,
    /// True while a handler of the user runs.
    runs: bool,
    /// True if it has joined without being present: only a frame that is to be handled can do so.
    must_speak: bool,
}

struct Life<const G: u64> {
    world: World,
    room: TestRoom<Street<G>>,
    dice: Dice,
    clients: Vec<Client<G>>,
    seen: BTreeMap<String, Seen>,
    next_name: u64,
    run: Run,
}

impl<const G: u64> Life<G> {
    fn new(run: &Run) -> Self {
        NOTES.take();
        let world = run.world();
        let (room, dice, run) = (world.room("street"), Dice::new(run.seed()), run.clone());
        Life { world, room, dice, clients: Vec::new(), seen: BTreeMap::new(), next_name: 0, run }
    }

    fn say_what(&self, what: impl FnOnce() -> String) {
        self.run.note(what);
    }

    fn chance(&mut self, n: usize) -> usize {
        self.dice.below(n as u64) as usize
    }

    fn anyone(&mut self) -> Option<usize> {
        let n = self.clients.len();
        (n > 0).then(|| self.chance(n))
    }

    fn step(&mut self) {
        match self.chance(24) {
            0..6 => self.connect(),
            6..8 => self.connect_together(),
            8 => self.say(),
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
                self.forget_running();
            }
            15 if self.chance(3) == 0 => {
                self.say_what(|| "restart".to_owned());
                self.room.restart();
                self.forget_running();
            }
            16..20 => self.leave(),
            20 | 21 => self.resume(),
            22 => match self.chance(8) {
                0 => self.purge(),
                1 => self.fail_storage(),
                2 => self.change_schema(),
                _ => self.kick(),
            },
            _ => {}
        }
        self.check_notes();
    }

    fn upgrade(&mut self) -> (&'static str, Upgrade<Data>) {
        self.next_name += 1;
        let user = USERS[self.chance(USERS.len())];
        let slow_ms = if self.chance(2) == 0 { self.chance(60) as u64 } else { 0 };
        let on_connect = match self.chance(8) {
            0 => OnConnect::Fails,
            1 => OnConnect::Closes,
            _ => OnConnect::Succeeds,
        };
        let on_duplicate = match self.chance(6) {
            0 | 1 => OnDuplicate::Replace,
            2 => OnDuplicate::Reject,
            _ => OnDuplicate::Allow,
        };
        let data = Data { name: format!("{user} {}", self.next_name), slow_ms, on_connect };
        self.say_what(|| format!("connect {data:?}, {on_duplicate:?}"));
        (user, Upgrade::new(data).id(user).on_duplicate(on_duplicate))
    }

    fn connect(&mut self) {
        let (user, upgrade) = self.upgrade();
        if let Ok(peer) = self.room.try_connect(upgrade) {
            self.clients.push(Client { user, token: peer.resume_token(), peer });
        }
    }

    /// Connects two peers at the same instant, while one leaves.
    fn connect_together(&mut self) {
        let upgrades = [self.upgrade(), self.upgrade()];
        let leaving = self.anyone();
        let (world, room) = (self.world.clone(), &self.room);
        let users = upgrades.each_ref().map(|(user, _)| *user);
        let begun = world.together(|| {
            if let Some(leaving) = leaving {
                self.clients[leaving].peer.close();
            }
            upgrades.map(|(_, upgrade)| room.begin_connect(upgrade))
        });
        for (user, connecting) in users.into_iter().zip(begun) {
            if let Ok(peer) = world.block_on(connecting) {
                self.clients.push(Client { user, token: peer.resume_token(), peer });
            }
        }
    }

    fn say(&mut self) {
        if let Some(index) = self.anyone() {
            self.say_what(|| format!("{} speaks", self.clients[index].user));
            self.clients[index].peer.send(&Event::Say);
        }
    }

    fn leave(&mut self) {
        let Some(index) = self.anyone() else { return };
        let how = self.chance(4);
        self.say_what(|| format!("{} leaves, {how}", self.clients[index].user));
        let peer = &self.clients[index].peer;
        match how {
            0 => peer.close(),
            1 => peer.close_with(CloseCode::AWAY, ""),
            2 => peer.disconnect(),
            // The room sees the connection as open, but the client answers nothing.
            _ => peer.stop_responding(),
        }
    }

    fn resume(&mut self) {
        let Some(index) = self.anyone() else { return };
        let (user, Some(token)) = (self.clients[index].user, self.clients[index].token.clone()) else { return };
        self.next_name += 1;
        let data = Data { name: format!("{user} {}", self.next_name), slow_ms: 0, on_connect: OnConnect::Succeeds };
        self.say_what(|| format!("{user} resumes, or is {}", data.name));
        if let Ok(peer) = self.room.try_connect(Upgrade::new(data).id(user).resume(&token)) {
            self.clients.push(Client { user, token: peer.resume_token(), peer });
        }
    }

    fn kick(&mut self) {
        let user = USERS[self.chance(USERS.len())];
        self.say_what(|| format!("kick {user}"));
        self.room.send(&Event::Kick { user: user.to_owned() }).expect("kicked");
    }

    fn purge(&mut self) {
        self.say_what(|| "purge".to_owned());
        self.room.send(&Event::Purge).expect("purged");
        self.check_notes();
        self.seen.clear();
    }

    /// Makes writes fail while a peer connects.
    fn fail_storage(&mut self) {
        // If storage cannot record that a place ended, the user leaves late. So no departure may be pending here.
        if self.room.is_busy() || !self.room.is_in_memory() {
            return;
        }
        self.say_what(|| "storage fails".to_owned());
        self.room.fail_writes(true);
        self.connect();
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
            (entry.contains(r#""away""#) && entry.contains(r#""slow_ms""#)).then_some((key, entry))
        });
        if let Some((key, entry)) = away {
            self.say_what(|| "an entry cannot be read".to_owned());
            memory.store(&key, entry.replace(r#""slow_ms""#, r#""was_slow_ms""#).as_bytes());
        }
    }

    /// A crash ends the running handlers.
    fn forget_running(&mut self) {
        self.check_notes();
        self.seen.values_mut().for_each(|seen| *seen = Seen { runs: false, must_speak: false, ..*seen });
    }

    fn check_notes(&mut self) {
        for (user, what) in NOTES.take() {
            self.say_what(|| format!("    {user}: {what:?}"));
            let seen = self.seen.entry(user.clone()).or_default();
            match what {
                Note::Join { by, is_present } => {
                    assert!(!seen.has_joined, "{user} joins twice");
                    assert!(!seen.runs, "{user} joins while its on_leave runs");
                    assert!(by.is_some_and(|by| by.starts_with(&user)), "on_join of {user} has another sender");
                    *seen = Seen { has_joined: true, runs: true, must_speak: !is_present };
                }
                Note::Leave { by, is_present } => {
                    assert!(seen.has_joined, "{user} leaves, and has not joined");
                    assert!(!seen.runs, "{user} leaves while its on_join runs");
                    assert!(!is_present, "{user} leaves, and is present");
                    assert!(by.is_none_or(|by| by.starts_with(&user)), "on_leave of {user} has another sender");
                    assert!(!seen.must_speak, "{user} joined, was not present and had no frame");
                    *seen = Seen { has_joined: false, runs: true, must_speak: false };
                }
                Note::JoinEnds | Note::LeaveEnds => {
                    assert!(seen.runs, "a handler of {user} ends twice");
                    seen.runs = false;
                }
                Note::Said => {
                    assert!(seen.has_joined && !seen.runs, "a frame of {user} before its on_join has ended");
                    seen.must_speak = false;
                }
                Note::Close => {}
            }
        }
    }

    fn joined(&self) -> BTreeSet<String> {
        self.seen.iter().filter(|(_, seen)| seen.has_joined).map(|(user, _)| user.clone()).collect()
    }

    fn end(&mut self) {
        self.say_what(|| "the end".to_owned());
        // No event arrives, so the room's own alarms must do the rest. A kicked peer that does not answer gets its
        // `on_close` at the next start.
        self.world.advance(Duration::from_secs(700));
        self.check_notes();
        self.room.hibernate();
        self.room.peers(None).expect("the room answers");
        self.world.advance(Duration::from_secs(1));
        self.check_notes();
        assert!(!self.room.is_busy(), "something never ends");
        assert!(self.seen.values().all(|seen| !seen.runs), "a handler never ends");
        let present = self.room.object.host().presence().expect("presence");
        let present: BTreeSet<_> = present.into_iter().map(|user| user.id.to_string()).collect();
        assert_eq!(self.joined(), present, "the users that have joined are those that are present");
        assert!(self.room.object.host().visits.borrow().is_empty(), "a visit stays in memory");
        let memory = &self.room.object.memory;
        assert_eq!(memory.keys("room:outstanding:"), Vec::<String>::new(), "a handler has never begun");
        let stored: Vec<_> = present.iter().map(|user| format!("room:user:{user}")).collect();
        assert_eq!(memory.keys("room:user:"), stored, "the stored users are those that are present");
        // A restart ends all connections.
        self.room.restart();
        self.world.advance(Duration::from_secs(700));
        self.check_notes();
        assert_eq!(self.joined(), BTreeSet::new(), "users stay after all connections have ended");
    }
}

fn live<const G: u64>(run: &Run) {
    let mut life = Life::<G>::new(run);
    for step in run.steps() {
        life.dice = step.dice;
        life.step();
    }
    life.end();
}

#[test]
fn users_join_and_leave_in_turn_in_a_room_without_a_grace() {
    let command = "cargo test -p room-runtime --lib users_join_and_leave_in_turn_in_a_room_without_a_grace";
    Lives { command, seeds: 1_000, steps: 40 }.run(live::<0>);
}

#[test]
fn users_join_and_leave_in_turn_in_a_room_that_keeps_places() {
    let command = "cargo test -p room-runtime --lib users_join_and_leave_in_turn_in_a_room_that_keeps_places";
    Lives { command, seeds: 1_000, steps: 40 }.run(live::<200>);
}

// Orders of events that a conformance case cannot produce

fn ann(name: &str) -> Upgrade<Data> {
    let data = Data { name: name.to_owned(), slow_ms: 0, on_connect: OnConnect::Succeeds };
    Upgrade::new(data).id("ann")
}

/// The notes so far, without those of the ends.
fn notes() -> Vec<String> {
    let notes = NOTES.take().into_iter();
    let text = |note| match note {
        Note::Join { by, .. } => Some(format!("join by {by:?}")),
        Note::Leave { by, .. } => Some(format!("leave by {by:?}")),
        Note::Said => Some("said".to_owned()),
        Note::Close => Some("close".to_owned()),
        Note::JoinEnds | Note::LeaveEnds => None,
    };
    notes.filter_map(|(_, note)| text(note)).collect()
}

#[test]
fn a_crash_between_on_connect_and_on_join_delays_on_join_to_the_next_start() {
    let room = TestRoom::<Street<0>>::new("street");
    let peer = room.connect(ann("one"));
    notes();
    room.hibernate();
    // Storage is as it was at the crash.
    room.object.memory.store("room:outstanding:ann", br#"{"id":"ann"}"#);
    peer.send(&Event::Say);
    assert_eq!(notes(), [r#"join by Some("one")"#, "said"]);
    peer.close();
    assert_eq!(notes(), ["close", r#"leave by Some("one")"#]);
}

#[test]
fn an_on_join_that_a_crash_has_delayed_ends_before_the_first_frame() {
    let room = TestRoom::<Street<0>>::new("street");
    let data = Data { name: "one".to_owned(), slow_ms: 50, on_connect: OnConnect::Succeeds };
    let peer = room.connect(Upgrade::new(data).id("ann"));
    room.advance(Duration::from_millis(200));
    NOTES.take();
    room.hibernate();
    room.object.memory.store("room:outstanding:ann", br#"{"id":"ann"}"#);
    peer.send(&Event::Say);
    room.advance(Duration::from_millis(200));
    let notes: Vec<_> = NOTES.take().into_iter().map(|(_, note)| note).collect();
    let join = Note::Join { by: Some("one".to_owned()), is_present: true };
    assert_eq!(notes, [join, Note::JoinEnds, Note::Said]);
}

#[test]
fn a_user_whose_on_join_a_crash_has_prevented_does_not_leave_if_its_connection_is_lost() {
    let room = TestRoom::<Street<0>>::new("street");
    room.connect(ann("one"));
    notes();
    room.hibernate();
    room.object.memory.store("room:outstanding:ann", br#"{"id":"ann"}"#);
    room.restart();
    room.peers(None).expect("the room answers");
    assert_eq!(notes(), ["close"]);
    room.connect(ann("two"));
    assert_eq!(notes(), [r#"join by Some("two")"#]);
}

#[test]
fn on_leave_runs_without_a_sender_if_the_data_of_the_last_peer_cannot_be_read() {
    let room = TestRoom::<Street<0>>::new("street");
    room.connect(ann("one"));
    notes();
    room.restart();
    let memory = &room.object.memory;
    let key = memory.keys("room:peer:").remove(0);
    let entry = String::from_utf8(memory.stored(&key).expect("stored")).expect("text");
    memory.store(&key, entry.replace(r#""slow_ms""#, r#""was_slow_ms""#).as_bytes());
    room.peers(None).expect("the room answers");
    assert_eq!(notes(), ["leave by None"]);
    assert_eq!(room.take_log().len(), 1);
}

#[test]
fn a_user_without_places_leaves_at_a_start_without_sockets() {
    let room = TestRoom::<Street<0>>::new("street");
    let peer = room.connect(ann("one"));
    notes();
    room.hibernate();
    // Code without the handlers of users has closed the peer meanwhile.
    let memory = &room.object.memory;
    let user = memory.stored("room:user:ann").expect("stored");
    peer.close();
    notes();
    room.hibernate();
    memory.store("room:user:ann", &user);
    room.peers(None).expect("the room answers");
    assert_eq!(notes(), ["leave by None"]);
    assert_eq!(memory.keys("room:user:"), Vec::<String>::new());
}

#[test]
fn a_connection_reads_and_writes_the_places_of_its_own_user_only() {
    let room = TestRoom::<Street<0>>::new("street");
    let others: Vec<_> = ["ben", "cat", "dan"].map(|user| room.connect(ann("one").id(user))).into();
    let memory = &room.object.memory;
    memory.trace.take();
    let peer = room.connect(ann("one"));
    let of_users = || {
        let all = memory.trace.take();
        let of = |what: &String| what.contains("room:user:") || what.contains("room:outstanding:");
        all.iter().filter(|what| of(what)).map(|what| what.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let places: Vec<String> = of_users();
    let join = ["get room:user:ann", "put room:outstanding:ann", "put room:user:ann", "delete room:outstanding:ann"];
    assert_eq!(places, join);
    peer.send(&Event::Say);
    assert_eq!(of_users(), Vec::<String>::new());
    peer.close();
    let places: Vec<String> = of_users();
    let leave =
        ["get room:user:ann", "put room:outstanding:ann", "delete room:user:ann", "delete room:outstanding:ann"];
    assert_eq!(places, leave);
    drop(others);
}

#[test]
fn frames_and_hibernation_do_not_touch_the_users_in_storage() {
    let room = TestRoom::<Street<0>>::new("street");
    let peer = room.connect(ann("one"));
    room.hibernate();
    room.fail_writes(true);
    peer.send(&Event::Say);
    room.fail_writes(false);
    assert_eq!(notes(), [r#"join by Some("one")"#, "said"]);
    room.assert_no_errors();
}
