//! The client and the engine together, in one process and under a virtual clock: through the handle of a room, as in a Worker.
//!
//! `ROOM_SEED=… cargo test -p room-client --test room nothing_is_lost` repeats a random life and tells it, and `ROOM_SEEDS=…` sets
//! the number of lives.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use room_client::{Builder, CallError, Client, ErrorKind, Incoming, Reconnect, Status};
use room_runtime::{
    CloseCode, Room as _, Upgrade,
    testing::{
        TestRoom,
        lives::{Lives, Run},
    },
};

#[room_runtime::room(reconnect_grace = "1m", replay = 1000, max_peers = 3)]
mod ledger {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        /// The entries of each client, in the order in which they were handled.
        pub entries: Vec<(String, u64)>,
    }

    pub struct Connection {
        pub name: String,
    }

    pub enum Event {
        Put { entry: u64 },
        Refuse,
    }

    #[derive(PartialEq, Eq)]
    pub enum Broadcast {
        Put { index: u64 },
    }

    #[data]
    #[derive(PartialEq, Eq)]
    pub enum PutError {
        Odd,
    }

    pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        match &*upgrade.data.name {
            "banned" => Err(Reject::new(403, "not you")),
            _ => Ok(()),
        }
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Put { entry } => write(ctx, entry).map(drop),
            Event::Refuse => Err(ctx.refuse("no")),
        }
    }

    /// Adds an entry, and returns its index.
    #[call]
    pub fn put(ctx: &Ctx, entry: u64) -> Result<u64, OrFailure<PutError>> {
        match entry % 10 {
            9 => Err(PutError::Odd.into()),
            _ => Ok(write(ctx, entry)?),
        }
    }

    fn write(ctx: &Ctx, entry: u64) -> Result<u64> {
        let Some(name) = ctx.sender().map(|peer| peer.id().to_string()) else { return Ok(0) };
        let index = ctx.update(|state| {
            state.entries.push((name, entry));
            state.entries.len() as u64 - 1
        })?;
        ctx.broadcast(&Broadcast::Put { index })?;
        Ok(index)
    }
}

use ledger::{Broadcast, Calls as _, Connection, Event, PutError, Room};

type Items = Rc<RefCell<Vec<Incoming<Broadcast>>>>;

/// Connects a client that collects what arrives.
fn join(room: &TestRoom<Room>, name: &str) -> (Client<Event>, Items) {
    let id = name.to_owned();
    let upgrade = move || Upgrade::new(Connection { name: id.clone() }).id(&*id);
    let reconnect = Reconnect::default().base(Duration::from_millis(100)).max(Duration::from_secs(1));
    let (client, mut messages, driver) = Builder::default().reconnect(reconnect).connect_room(room.handle(), upgrade);
    room.world().spawn(driver);
    let items = Items::default();
    let into = items.clone();
    room.world().spawn(async move {
        while let Some(item) = messages.next().await {
            into.borrow_mut().push(item);
        }
    });
    (client, items)
}

/// The indices of the messages that have arrived.
fn indices(items: &Items) -> Vec<u64> {
    let index = |item: &Incoming<Broadcast>| match item {
        Incoming::Message(Broadcast::Put { index }) => Some(*index),
        _ => None,
    };
    items.borrow().iter().filter_map(index).collect()
}

/// The code and the error of a client that is closed for good.
fn closed(client: &Client<Event>) -> Option<(u16, Option<ErrorKind>)> {
    match client.status() {
        Status::Closed(close) => Some((close.code, close.error.map(|error| error.kind()))),
        _ => None,
    }
}

#[test]
fn events_and_calls_have_their_outcomes_and_messages_arrive() {
    let room = TestRoom::<Room>::new("r");
    let (ann, items) = join(&room, "ann");
    let (_bob, bobs) = join(&room, "bob");
    room.world().block_on(async {
        ann.send(&Event::Put { entry: 1 }).await.expect("handled");
        assert_eq!(ann.put(2).await.expect("handled"), 1);
        assert!(matches!(ann.put(9).await, Err(CallError::Returned(PutError::Odd))));
        let refused = ann.send(&Event::Refuse).await.expect_err("refused");
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Room, "refused"));
        assert!(refused.to_string().contains("no"), "{refused}");
    });
    room.world().advance(Duration::ZERO);
    assert_eq!((indices(&items), indices(&bobs)), (vec![0, 1], vec![0, 1]));
    ann.close(1000, "bye").expect("valid");
    assert_eq!(room.world().block_on(ann.closed()).code, 1000);
    assert_eq!(room.peers(None).expect("readable").len(), 1);
    room.assert_no_errors();
}

#[test]
fn a_client_survives_hibernation_crashes_and_restarts() {
    let room = TestRoom::<Room>::new("r");
    let (ann, items) = join(&room, "ann");
    let mut expected = Vec::new();
    for entry in 0..9 {
        match entry % 3 {
            0 => room.hibernate(),
            1 => room.crash(),
            _ => room.restart(),
        }
        room.world().block_on(ann.send(&Event::Put { entry })).expect("handled");
        expected.push(("ann".to_owned(), entry));
    }
    room.world().advance(Duration::ZERO);
    assert_eq!(room.state().expect("readable").expect("a state").entries, expected);
    assert_eq!(indices(&items), (0..9).collect::<Vec<_>>());
    let opened = items.borrow().iter().filter(|item| matches!(item, Incoming::Status(Status::Open { .. }))).count();
    assert!(opened >= 4, "{opened}");
}

#[test]
fn a_driver_that_is_dropped_is_a_lost_connection_and_a_client_that_is_dropped_a_closed_one() {
    let room = TestRoom::<Room>::new("r");
    let upgrade = || Upgrade::new(Connection { name: "ann".to_owned() }).id("ann");
    let (ann, _messages, driver) = Builder::default().connect_room(room.handle(), upgrade);
    let mut driver = Box::pin(driver);
    room.world().block_on(async {
        let send = std::pin::pin!(ann.send(&Event::Put { entry: 1 }));
        futures_util::future::select(send, &mut driver).await;
    });
    drop(driver);
    assert_eq!(closed(&ann), Some((1006, Some(ErrorKind::Closed))));
    // The place is kept, so the room is full with two others.
    let (_bob, _) = join(&room, "bob");
    let (cat, _) = join(&room, "cat");
    let (dan, _) = join(&room, "dan");
    room.world().block_on(cat.wait_for_open()).expect("open");
    room.world().advance(Duration::from_secs(10));
    assert!(matches!(dan.status(), Status::Reconnecting { .. }), "{:?}", dan.status());
    drop(cat);
    room.world().block_on(dan.wait_for_open()).expect("there is a place");
}

#[test]
fn a_refusal_and_a_mistake_end_the_connection() {
    let room = TestRoom::<Room>::new("r");
    let (banned, _) = join(&room, "banned");
    let error = room.world().block_on(banned.send(&Event::Refuse)).expect_err("refused");
    assert_eq!((error.kind(), error.status()), (ErrorKind::UpgradeRefused, Some(403)));
    assert!(error.to_string().contains("not you"), "{error}");
    assert_eq!(closed(&banned), Some((1006, Some(ErrorKind::UpgradeRefused))));
    let (nameless, _) = join(&room, "");
    let error = room.world().block_on(nameless.wait_for_open()).expect_err("no id");
    assert_eq!(error.kind(), ErrorKind::Endpoint, "{error}");
}

#[test]
fn frames_of_ones_own_and_subprotocols_are_those_of_the_room() {
    use futures_util::StreamExt;
    use room_runtime::RawFrame;

    let room = TestRoom::<Room>::new("r");
    let upgrade = || Upgrade::new(Connection { name: "ann".to_owned() }).id("ann");
    room.world().block_on(async {
        let mut socket = room.handle().connect_raw(upgrade(), &["other", "room.v1"]).await.expect("connected");
        assert_eq!(socket.protocol(), Some("room.v1"));
        let Some(RawFrame::Text(welcome)) = socket.next().await else { panic!("no welcome") };
        assert!(welcome.starts_with(r#"[[{"welcome":"#), "{welcome}");
        socket.send(r#"[1,{"type":"Put","entry":5}]"#).expect("sent");
        let Some(RawFrame::Text(frame)) = socket.next().await else { panic!("no frame") };
        assert!(frame.contains(r#"{"ack":1}"#), "{frame}");
        socket.close(CloseCode::NORMAL, "").expect("closed");
        let Some(RawFrame::Close(close)) = socket.next().await else { panic!("no close") };
        assert_eq!((close.code, socket.next().await), (1000, None));
        let error = room.handle().connect_raw(upgrade(), &["room.v1", "two words"]).await.expect_err("no token");
        assert_eq!(error.kind(), room_runtime::ErrorKind::InvalidProtocol);
        let error = room.handle().connect_raw(upgrade(), &["other"]).await.expect_err("none is chosen");
        assert_eq!(error.status(), 400);
    });
    assert_eq!(Room::NAME, "ledger");
}

/// The outcome of an entry, for the client that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Handled,
    NotHandled,
    /// The room went down while it was handled.
    Unknown,
}

fn outcome(error: &room_client::Error) -> Outcome {
    match (error.kind(), error.code()) {
        (ErrorKind::Room, "restarted") => Outcome::Unknown,
        (ErrorKind::Room, _) => Outcome::NotHandled,
        other => panic!("{other:?}: {error}"),
    }
}

fn live(run: &Run) {
    let world = run.world();
    let room = world.room::<Room>("r");
    let names = ["ann", "bob", "cat"];
    let clients = names.map(|name| join(&room, name));
    let outcomes: Rc<RefCell<BTreeMap<(usize, u64), Outcome>>> = Rc::default();
    let mut sent = 0;
    for mut step in run.steps() {
        let dice = &mut step.dice;
        match dice.below(16) {
            0 => {
                run.note(|| "restart".to_owned());
                room.restart();
            }
            1 => {
                run.note(|| "crash".to_owned());
                room.crash();
            }
            2 => {
                run.note(|| "hibernate".to_owned());
                room.hibernate();
            }
            3 | 4 => {
                let ms = dice.below(1500);
                run.note(|| format!("advance {ms}"));
                world.advance(Duration::from_millis(ms));
            }
            5 => {
                let at = dice.below(3) as usize;
                run.note(|| format!("{} is nudged", names[at]));
                clients[at].0.nudge();
            }
            _ => {
                let at = dice.below(3) as usize;
                let (client, kept) = (clients[at].0.clone(), outcomes.clone());
                let entry = sent;
                sent += 1;
                let is_call = dice.once_in(2);
                run.note(|| format!("{} puts {entry}, by a call: {is_call}", names[at]));
                let pending = (!is_call).then(|| client.send(&Event::Put { entry }));
                let call = is_call.then(|| client.put(entry));
                world.spawn(async move {
                    let outcome = match (pending, call) {
                        (Some(pending), _) => pending.await.map_or_else(|error| outcome(&error), |()| Outcome::Handled),
                        (_, Some(call)) => match call.await {
                            Ok(_) => Outcome::Handled,
                            Err(CallError::Returned(PutError::Odd)) => Outcome::NotHandled,
                            Err(CallError::Failed(error)) => outcome(&error),
                        },
                        _ => return,
                    };
                    kept.borrow_mut().insert((at, entry), outcome);
                });
            }
        }
    }
    world.advance(Duration::from_secs(60));
    let outcomes = outcomes.borrow();
    assert_eq!(outcomes.len() as u64, sent, "each has an outcome: {outcomes:?}");
    let entries = room.state().expect("readable").unwrap_or_default().entries;
    for (at, name) in names.into_iter().enumerate() {
        let of_client: Vec<u64> = entries.iter().filter(|(of, _)| of == name).map(|(_, entry)| *entry).collect();
        assert!(of_client.is_sorted_by(|a, b| a < b), "{name}: out of order, or twice: {of_client:?}");
        for ((_, entry), outcome) in outcomes.iter().filter(|((of, _), _)| *of == at) {
            match outcome {
                Outcome::Handled => assert!(of_client.contains(entry), "{name}: {entry} is not there"),
                Outcome::NotHandled => assert!(!of_client.contains(entry), "{name}: {entry} is there"),
                Outcome::Unknown => {}
            }
        }
        let items = &clients[at].1;
        let heard = indices(items);
        let from = heard.first().copied().unwrap_or(0);
        assert!(heard.iter().copied().eq(from..entries.len() as u64), "{name} heard {heard:?} of {}", entries.len());
        let gaps = items.borrow().iter().filter(|item| matches!(item, Incoming::Gap { .. })).count();
        assert!(gaps <= 1, "{name} was told of {gaps} gaps");
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_whatever_happens_to_the_room() {
    let command = "cargo test -p room-client --test room nothing_is_lost";
    Lives { command, seeds: 300, steps: 40 }.run(live);
}
