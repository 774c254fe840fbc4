//! The timeout of silent peers: its moment, its effect, and random lives in which peers fall silent.
//!
//! `ROOM_SEED=… cargo test -p room-runtime --lib no_life_closes` repeats one random life and tells it. `ROOM_SEEDS=…` sets the
//! number of lives.

use std::{cell::RefCell, time::Duration};

use futures_channel::oneshot;

use crate::{
    Close, Failure, HandlesAlarms, Limits, OnDuplicate, Peer, Room, RoomContext, Upgrade,
    platform::{OwnedFrame, Platform},
    testing::{
        TestPeer, TestRoom,
        lives::{Dice, Lives, Run},
    },
};

/// The timeout of the rooms here, and the part of it that a stored time may be late.
const TIMEOUT_MS: u64 = 8_000;
const PART_MS: u64 = 1_000;

/// The constants: the timeout, the grace, whether there is an `on_close`, the most peers.
struct Ward<const TIMEOUT: u64, const GRACE: u64 = 0, const CLOSE: bool = true, const MAX: usize = 1000>;

type Plain = Ward<TIMEOUT_MS>;
type Graced = Ward<TIMEOUT_MS, 60_000>;

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static GATE: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) };
    /// True if `on_start` fails.
    static IS_ILL: RefCell<bool> = const { RefCell::new(false) };
}

fn note(what: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(what.into()));
}

fn notes() -> Vec<String> {
    NOTES.take()
}

fn open_gate<R: Room>(room: &TestRoom<R>) {
    GATE.take().expect("a handler waits").send(()).expect("it still waits");
    room.advance(Duration::ZERO);
}

impl<const T: u64, const G: u64, const C: bool, const M: usize> HandlesAlarms for Ward<T, G, C, M> {}

impl<const T: u64, const G: u64, const C: bool, const M: usize> Room for Ward<T, G, C, M> {
    const NAME: &'static str = "ward";
    const BINDING: &'static str = "WARD";
    const CLASS: &'static str = "WardRoom";
    const PEER_TIMEOUT_MS: u64 = T;
    const RECONNECT_GRACE_MS: u64 = G;
    const WATCHDOG_MS: u64 = 86_400_000;
    const HAS_ON_CLOSE: bool = C;
    const HAS_ON_ALARM: bool = G > 0;
    const HAS_ON_JOIN: bool = false;
    const HAS_ON_LEAVE: bool = false;
    const HAS_ON_UNDELIVERED: bool = false;
    const LIMITS: Limits = Limits::DEFAULT.max_peers(M);
    type State = ();
    type Connection = String;
    type Event = String;
    type Broadcast = String;
    type Alarm = String;
    type Services = ();

    fn init(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
        Ok(())
    }
    fn services(_env: &worker::Env) -> Result<(), Failure> {
        Ok(())
    }
    async fn on_start(_ctx: &RoomContext<Self>) -> Result<(), Failure> {
        if IS_ILL.with_borrow(|is_ill| *is_ill) { Err(Failure::msg("ill")) } else { Ok(()) }
    }
    async fn on_connect(_ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        if *peer.data() == "slow" {
            wait().await;
        }
        Ok(())
    }
    async fn on_resume(_ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("resume {}", peer.id()));
        Ok(())
    }
    async fn on_away(_ctx: &RoomContext<Self>, peer: &Peer<Self>) -> Result<(), Failure> {
        note(format!("away {}", peer.id()));
        Ok(())
    }
    async fn on_close(ctx: &RoomContext<Self>, peer: &Peer<Self>, close: Close) -> Result<(), Failure> {
        let Close { code, reason, was_clean, .. } = &close;
        let here = ctx.peers().iter().any(|other| other == *peer);
        assert!(reason.is_empty() && !was_clean && !here, "{close:?} {here}");
        note(format!("close {} {code}{} {:?}", peer.id(), if close.is_lost() { " lost" } else { "" }, peer.tags()));
        Ok(())
    }
    async fn on_event(ctx: &RoomContext<Self>, event: String) -> Result<(), Failure> {
        match &*event {
            "wait" => wait().await,
            "set" => {
                let peer = ctx.sender().expect("a peer sent it");
                peer.set_data("set".to_owned())?;
                note(format!("set {}", peer.id()));
            }
            "schedule" => drop(ctx.schedule("it".to_owned()).key("it").after(Duration::from_secs(3_600))?),
            _ => {}
        }
        Ok(())
    }
    async fn on_alarm(_ctx: &RoomContext<Self>, _alarm: String) -> Result<(), Failure> {
        Ok(())
    }
}

async fn wait() {
    let (sender, receiver) = oneshot::channel();
    GATE.set(Some(sender));
    let _ = receiver.await;
}

fn as_(id: &str) -> Upgrade<String> {
    Upgrade::new(id.to_owned()).id(id)
}

fn pass<R: Room>(room: &TestRoom<R>, ms: u64) {
    room.advance(Duration::from_millis(ms));
}

fn say<R: Room<Event = String>>(peer: &TestPeer<R>, what: &str) {
    peer.send(&what.to_owned());
}

fn timed_out<R: Room>(peer: &TestPeer<R>) -> bool {
    peer.closed().is_some_and(|(code, _)| code == 3008)
}

#[test]
fn a_silent_peer_is_closed_after_the_timeout_and_not_before() {
    let room = TestRoom::<Plain>::new("r");
    let ann = room.connect(as_("ann").tag("x"));
    pass(&room, TIMEOUT_MS - 1);
    assert!(ann.is_open());
    assert_eq!(notes(), [""; 0]);
    pass(&room, 1);
    assert_eq!(ann.closed(), Some((3008, "no frame and no heartbeat arrived in time".to_owned())));
    assert_eq!(notes(), ["close ann 1006 [\"x\"]"]);
    assert_eq!(room.peers(None).expect("peers").len(), 0);
    pass(&room, 86_400_000);
    assert_eq!(notes(), [""; 0]);
    room.assert_no_errors();
}

#[test]
fn frames_and_heartbeats_of_any_kind_are_signs_of_life() {
    let room = TestRoom::<Plain>::new("r");
    let (ann, ben, cat) = (room.connect(as_("ann")), room.connect(as_("ben")), room.connect(as_("cat")));
    for _ in 0..10 {
        pass(&room, TIMEOUT_MS - 1);
        say(&ann, "hello");
        ben.heartbeat();
        // Not an event.
        cat.send_binary([1]);
    }
    assert!(ann.is_open() && ben.is_open() && cat.is_open());
    assert_eq!(notes(), [""; 0]);
}

#[test]
fn heartbeats_wake_the_room_only_in_its_alarm() {
    let room = TestRoom::<Plain>::new("r");
    let ann = room.connect(as_("ann"));
    for _ in 0..12 {
        pass(&room, TIMEOUT_MS / 4);
        ann.heartbeat();
        if room.is_in_memory() {
            room.hibernate();
        }
    }
    // The room wakes at the end of the first timeout. Ann's last heartbeat is a quarter of it old then, so the next
    // wakes are each three quarters later.
    assert_eq!(room.incarnations(), 1 + 3);
    assert!(ann.is_open());
}

#[test]
fn hibernation_loses_no_sign_of_life() {
    let room = TestRoom::<Plain>::new("r");
    let (ann, ben, cat) = (room.connect(as_("ann")), room.connect(as_("ben")), room.connect(as_("cat")));
    pass(&room, 4_000);
    say(&ann, "hello");
    ben.heartbeat();
    room.hibernate();
    pass(&room, TIMEOUT_MS - 4_000);
    assert!(room.is_in_memory(), "the alarm wakes the room");
    // After a wake, the time of a frame is known to a part of the timeout only, and no peer is closed early.
    assert!(cat.is_open());
    pass(&room, PART_MS);
    assert!(timed_out(&cat) && ann.is_open() && ben.is_open());
    pass(&room, 3_000);
    assert!(timed_out(&ben) && ann.is_open());
    pass(&room, PART_MS);
    assert!(timed_out(&ann));
    assert_eq!(notes(), ["close cat 1006 []", "close ben 1006 []", "close ann 1006 []"]);
}

#[test]
fn hibernation_closes_no_peer_early_whose_last_frame_was_not_stored() {
    let room = TestRoom::<Plain>::new("r");
    let ann = room.connect(as_("ann"));
    pass(&room, PART_MS - 1);
    say(&ann, "hello");
    room.hibernate();
    pass(&room, TIMEOUT_MS - 1);
    assert!(ann.is_open());
    pass(&room, 1 + PART_MS);
    assert!(timed_out(&ann));
}

#[test]
fn repeated_wakes_do_not_prolong_the_timeout() {
    let room = TestRoom::<Graced>::new("r");
    let (ann, ben) = (room.connect(as_("ann")), room.connect(as_("ben")));
    // Each wake writes attachments and sets the alarm anew, for the schedule.
    for _ in 0..(TIMEOUT_MS * 5 / 4) / 500 {
        pass(&room, 500);
        ann.heartbeat();
        say(&ann, "set");
        say(&ann, "schedule");
        room.hibernate();
    }
    assert!(timed_out(&ben) && ann.is_open());
    assert_eq!(notes().iter().filter(|note| *note == "away ben").count(), 1);
}

#[test]
fn a_silent_peer_keeps_its_place_for_the_grace_and_may_resume() {
    let room = TestRoom::<Graced>::new("r");
    let (ann, ben) = (room.connect(as_("ann").tag("x")), room.connect(as_("ben")));
    pass(&room, TIMEOUT_MS);
    assert!(timed_out(&ann) && timed_out(&ben));
    assert_eq!(notes(), ["away ann", "away ben"]);
    let back = room.connect(as_("ann").resume(ann.resume_token().expect("a token")));
    assert_eq!(back.resume_token(), ann.resume_token());
    assert_eq!(notes(), ["resume ann"]);
    // The old connection ends late.
    ann.disconnect();
    for _ in 0..20 {
        pass(&room, 4_000);
        back.heartbeat();
    }
    assert!(back.is_open());
    assert_eq!(notes(), ["close ben 1006 []"]);
    pass(&room, 200_000);
    assert_eq!(notes(), ["away ann", "close ann 1006 [\"x\"]"]);
    room.assert_no_errors();
}

#[test]
fn a_peer_resumes_before_the_end_of_its_silent_connection_is_handled() {
    let room = TestRoom::<Graced>::new("r");
    let ann = room.connect(as_("ann"));
    say(&ann, "wait");
    say(&ann, "set");
    pass(&room, TIMEOUT_MS);
    // The client answers the close while its handler waits. A frame that was on its way is not one of the new connection.
    assert!(timed_out(&ann));
    room.object.clone().frame(0, OwnedFrame::Text("\"set\"".to_owned()));
    let back = room.connect(as_("ann").resume(ann.resume_token().expect("a token")));
    assert_eq!(back.resume_token(), ann.resume_token());
    open_gate(&room);
    assert_eq!(notes(), ["set ann", "resume ann"]);
    assert_eq!(room.peers(None).expect("peers").len(), 1);
}

#[test]
fn the_frames_that_wait_are_handled_and_later_ones_are_ignored() {
    for answers in [true, false] {
        let room = TestRoom::<Plain>::new("r");
        let ann = room.connect(as_("ann"));
        if !answers {
            ann.stop_responding();
        }
        say(&ann, "wait");
        say(&ann, "set");
        pass(&room, TIMEOUT_MS);
        assert!(timed_out(&ann));
        // A frame that was on its way when the room closed the connection.
        room.object.clone().frame(0, OwnedFrame::Text("\"set\"".to_owned()));
        assert_eq!(notes(), [""; 0]);
        open_gate(&room);
        assert_eq!(notes(), ["set ann", "close ann 1006 []"], "answers: {answers}");
        room.object.clone().frame(0, OwnedFrame::Text("\"set\"".to_owned()));
        ann.disconnect();
        pass(&room, 1);
        assert_eq!(notes(), [""; 0]);
        room.assert_no_errors();
    }
}

#[test]
fn a_peer_whose_on_connect_waits_has_its_whole_timeout_from_then_on() {
    let room = TestRoom::<Plain>::new("r");
    let slow = room.begin_connect(Upgrade::new("slow".to_owned()).id("ann"));
    let other = room.connect(as_("ben"));
    for _ in 0..4 {
        pass(&room, TIMEOUT_MS - 1);
        other.heartbeat();
    }
    open_gate(&room);
    let ann = room.world().block_on(slow).expect("in");
    pass(&room, TIMEOUT_MS - 1);
    other.heartbeat();
    assert!(ann.is_open());
    pass(&room, 1 + PART_MS);
    assert!(timed_out(&ann) && other.is_open());
}

#[test]
fn a_crash_loses_neither_the_end_nor_the_alarm() {
    let room = TestRoom::<Plain>::new("r");
    let (ann, ben) = (room.connect(as_("ann")), room.connect(as_("ben")));
    pass(&room, 4_000);
    ben.heartbeat();
    say(&ann, "wait");
    room.crash();
    pass(&room, TIMEOUT_MS + 2 * PART_MS - 1);
    assert!(timed_out(&ann) && timed_out(&ben));
    assert_eq!(notes(), ["close ben 1006 []", "close ann 1006 []"]);

    // The room crashes after it has closed the connection and before `on_close`.
    let room = TestRoom::<Plain>::new("s");
    let ann = room.connect(as_("ann"));
    say(&ann, "wait");
    pass(&room, TIMEOUT_MS);
    assert!(timed_out(&ann));
    assert_eq!(notes(), [""; 0]);
    room.crash();
    assert_eq!(room.peers(None).expect("peers").len(), 0);
    assert_eq!(notes(), ["close ann 1006 []"]);
}

#[test]
fn a_restart_closes_each_peer_once_as_lost() {
    let room = TestRoom::<Plain>::new("r");
    let _ann = room.connect(as_("ann"));
    room.restart();
    // The alarm for silent peers finds the loss, long before the watchdog.
    pass(&room, TIMEOUT_MS);
    assert_eq!(notes(), ["close ann 1006 lost []"]);
    pass(&room, 100_000);
    assert_eq!(notes(), [""; 0]);
    assert_eq!(room.object.memory.alarm.get(), None);
}

#[test]
fn a_silent_peer_takes_no_place_and_rejects_no_other() {
    let room = TestRoom::<Ward<TIMEOUT_MS, 0, true, 1>>::new("r");
    let ann = room.connect(as_("ann"));
    ann.stop_responding();
    let again = || as_("ann").on_duplicate(OnDuplicate::Reject);
    assert_eq!(room.try_connect(again()).expect_err("full").status(), Some(503));
    pass(&room, TIMEOUT_MS);
    let back = room.connect(again());
    assert!(back.is_open());
    assert_eq!(notes(), ["close ann 1006 []"]);

    let room = TestRoom::<Ward<TIMEOUT_MS, 0, false>>::new("s");
    let ann = room.connect(as_("ann"));
    ann.stop_responding();
    assert_eq!(room.try_connect(again()).expect_err("rejected").status(), Some(409));
    pass(&room, TIMEOUT_MS);
    assert!(room.connect(again()).is_open());
    // A room without `on_close` keeps no peers in storage.
    assert_eq!(room.object.memory.keys("room:peer:"), [""; 0]);
}

#[test]
fn a_replaced_peer_is_not_timed_out() {
    let room = TestRoom::<Graced>::new("r");
    let old = room.connect(as_("ann"));
    old.stop_responding();
    pass(&room, 4_000);
    let new = room.connect(as_("ann").on_duplicate(OnDuplicate::Replace));
    assert_eq!(old.closed().map(|(code, _)| code), Some(1012));
    NOTES.take();
    pass(&room, 4_000);
    new.heartbeat();
    pass(&room, 4_000);
    assert!(new.is_open());
    assert_eq!(notes(), [""; 0]);
}

#[test]
fn an_empty_room_has_no_alarm_and_no_memory() {
    let room = TestRoom::<Ward<TIMEOUT_MS, 0, false>>::new("r");
    let (ann, ben) = (room.connect(as_("ann")), room.connect(as_("ben")));
    ann.stop_responding();
    ben.close();
    pass(&room, TIMEOUT_MS);
    assert!(timed_out(&ann));
    let host = room.object.host();
    assert_eq!(room.object.memory.alarm.get(), None);
    assert_eq!(host.slots.borrow().len(), 0);
    room.hibernate();
    let starts = room.incarnations();
    pass(&room, 86_400_000);
    assert_eq!(room.incarnations(), starts);
}

#[test]
fn a_lost_alarm_is_set_again_by_the_next_upgrade() {
    let room = TestRoom::<Ward<TIMEOUT_MS, 0, true, 1>>::new("r");
    let ann = room.connect(as_("ann"));
    room.hibernate();
    room.lose_alarm();
    pass(&room, 10 * TIMEOUT_MS);
    assert!(ann.is_open());
    assert_eq!(room.try_connect(as_("ben")).expect_err("full").status(), Some(503));
    pass(&room, 10);
    assert!(timed_out(&ann));
    assert!(room.try_connect(as_("ben")).is_ok());
    notes();
}

#[test]
fn peers_of_a_deploy_without_the_option_count_from_the_first_look() {
    let room = TestRoom::<Plain>::new("r");
    let memory = &room.object.memory;
    memory.peer_timeout_ms.set(0);
    let ann = room.connect(as_("ann"));
    room.hibernate();
    memory.peer_timeout_ms.set(TIMEOUT_MS);
    pass(&room, 2 * TIMEOUT_MS);
    let ben = room.connect(as_("ben"));
    // Nor does the next wake begin a new timeout.
    pass(&room, TIMEOUT_MS / 2);
    ben.heartbeat();
    room.hibernate();
    pass(&room, TIMEOUT_MS / 2 + PART_MS - 1);
    assert!(ann.is_open());
    pass(&room, 1 + PART_MS);
    assert!(timed_out(&ann) && ben.is_open());
    notes();
}

#[test]
fn a_room_without_the_option_records_no_times_and_sets_no_alarm() {
    let room = TestRoom::<Ward<0, 0, false>>::new("r");
    let ann = room.connect(as_("ann"));
    say(&ann, "hello");
    assert_eq!(room.object.memory.alarm.get(), None);
    assert!(room.object.host().room.parts.alarm.is_none());
    pass(&room, 30 * 86_400_000);
    assert!(ann.is_open());
}

#[test]
fn a_room_that_cannot_start_times_its_peers_out_later() {
    let room = TestRoom::<Ward<TIMEOUT_MS, 0, false>>::new("r");
    let ann = room.connect(as_("ann"));
    room.hibernate();
    IS_ILL.set(true);
    pass(&room, 3_600_000);
    let starts = room.take_log().iter().filter(|line| line.contains("on_start")).count();
    assert!(starts < 20, "{starts} starts in an hour: the back-off is missing");
    assert!(ann.is_open());
    IS_ILL.set(false);
    pass(&room, 2 * 3_600_000);
    assert!(timed_out(&ann));
}

#[test]
fn peers_that_are_due_one_after_the_other_share_an_alarm() {
    let room = TestRoom::<Plain>::new("r");
    let peers: Vec<_> = (0..100)
        .map(|n| {
            pass(&room, 10);
            room.connect(as_(&format!("p{n}")))
        })
        .collect();
    let mut alarms = 0;
    let mut last = None;
    while peers.iter().any(TestPeer::is_open) {
        let alarm = room.object.memory.alarm.get();
        if alarm != last {
            alarms += 1;
            last = alarm;
        }
        pass(&room, 1);
    }
    assert!(alarms <= 3, "{alarms} alarms");
    assert_eq!(notes().len(), 100);
}

// Random lives.

struct Guest {
    id: String,
    peer: TestPeer<Graced>,
    signed_at: u64,
    is_away: bool,
}

struct Life {
    room: TestRoom<Graced>,
    dice: Dice,
    guests: Vec<Guest>,
    next: u32,
    run: Run,
}

impl Life {
    fn chance(&mut self, n: u64) -> u64 {
        self.dice.below(n)
    }

    fn now(&self) -> u64 {
        self.room.world().now_ms()
    }

    fn step(&mut self) {
        let what = self.chance(16);
        let (n, at) = (self.guests.len() as u64, self.now());
        let index = if n > 0 { self.chance(n) as usize } else { 0 };
        let id = self.guests.get(index).map(|guest| guest.id.clone()).unwrap_or_default();
        let mut told = format!("{id} sends a heartbeat, if it is there");
        match what {
            0..2 => {
                self.next += 1;
                let id = format!("p{}", self.next);
                told = format!("{id} connects");
                let peer = self.room.connect(as_(&id));
                self.guests.push(Guest { id, peer, signed_at: at, is_away: false });
            }
            2..7 if n > 0 => {
                let guest = &mut self.guests[index];
                if guest.peer.is_open() {
                    guest.signed_at = at;
                    let word = ["hello", "set", "schedule"].get(what as usize - 2);
                    match word {
                        Some(word) => {
                            told = format!("{id} says {word}");
                            say(&guest.peer, word);
                        }
                        None => guest.peer.heartbeat(),
                    }
                }
            }
            7 if n > 0 => {
                told = format!("{id} stops responding");
                self.guests[index].peer.stop_responding();
            }
            8 if n > 0 && self.guests[index].is_away => {
                told = format!("{id} resumes");
                let token = self.guests[index].peer.resume_token().expect("a token");
                let back = self.room.connect(as_(&self.guests[index].id).resume(&token));
                assert_eq!(back.resume_token(), Some(token), "{} keeps its place", self.guests[index].id);
                let guest = &mut self.guests[index];
                let old = std::mem::replace(&mut guest.peer, back);
                (guest.signed_at, guest.is_away) = (at, false);
                old.disconnect();
            }
            9 | 10 if !self.room.is_busy() => {
                told = "hibernate".to_owned();
                self.room.hibernate();
            }
            11 => {
                told = "crash".to_owned();
                self.room.crash();
            }
            _ => {
                let ms = self.chance(2_500);
                told = format!("advance {ms}");
                pass(&self.room, ms);
            }
        }
        self.run.note(|| told);
        self.check();
    }

    fn check(&mut self) {
        let now = self.now();
        for line in notes() {
            let (what, id) = line.split_once(' ').expect("two words");
            let id = id.split(' ').next().unwrap_or_default();
            match what {
                "away" => {
                    let guest = self.guests.iter_mut().find(|guest| guest.id == id).expect("it is known");
                    assert!(!guest.is_away && timed_out(&guest.peer), "{line}");
                    guest.is_away = true;
                }
                "close" => {
                    let index = self.guests.iter().position(|guest| guest.id == id).expect("one on_close");
                    assert!(self.guests.remove(index).is_away, "{line}");
                }
                _ => {}
            }
        }
        for Guest { id, peer, signed_at, is_away } in &self.guests {
            let silent_ms = now - signed_at;
            assert_eq!(peer.is_open(), !is_away, "{id} has an on_away if its connection has ended");
            assert!(peer.is_open() || silent_ms >= TIMEOUT_MS, "{id} is closed after {silent_ms} ms");
            // An alarm in memory is one millisecond after the last one.
            let latest_ms = TIMEOUT_MS * 5 / 4 + 1;
            assert!(!peer.is_open() || silent_ms <= latest_ms, "{id} is open after {silent_ms} ms");
        }
        let open = self.guests.iter().filter(|guest| !guest.is_away).count();
        assert_eq!(self.room.object.memory.count_open(), open);
    }
}

fn live(run: &Run) {
    notes();
    let room = run.world().room("r");
    let mut life = Life { room, dice: Dice::new(run.seed()), guests: Vec::new(), next: 0, run: run.clone() };
    for step in run.steps() {
        life.dice = step.dice;
        life.step();
    }
    pass(&life.room, 4 * 60_000);
    life.check();
    assert!(life.guests.is_empty(), "every silent peer has its on_close");
}

#[test]
fn no_life_closes_a_peer_early_or_late() {
    let command = "cargo test -p room-runtime --lib no_life_closes";
    Lives { command, seeds: 150, steps: 200 }.run(live);
}
