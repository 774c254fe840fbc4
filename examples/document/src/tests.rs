//! The room with clients that are simulated by `yrs`, in memory.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use room_runtime::{
    prelude::*,
    testing::{TestFrame, TestPeer, TestRoom, World},
};
use serde_bytes::ByteBuf;
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact, Update,
    sync::{Message, SyncMessage},
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{name, room::document::*, wire};

const COMPACTION: Duration = Duration::from_secs(61);

fn new_room() -> TestRoom<Room> {
    TestRoom::with_services("notes", || Ok(Services::default()))
}

/// A room in a world whose events have an order by chance.
fn seeded_room(seed: u64) -> TestRoom<Room> {
    let world = World::with_seed(seed);
    world.provide::<Room>(|| Ok(Services::default()));
    world.room("notes")
}

/// A client as the provider of y-websocket is one: it follows the same steps.
struct Client {
    id: u64,
    doc: Doc,
    text: TextRef,
    peer: Option<TestPeer<Room>>,
    clock: RefCell<u32>,
    state: Option<String>,
    /// The states of the others, with their clocks.
    others: RefCell<BTreeMap<u64, (u32, Option<String>)>>,
}

impl Client {
    fn new(id: u64) -> Self {
        let mut options = Options::with_guid_and_client_id("".into(), ClientID::new(id));
        options.offset_kind = OffsetKind::Utf16;
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text("text");
        let state = Some(format!(r#"{{"user":{{"name":"{id}"}}}}"#));
        Client { id, doc, text, peer: None, clock: RefCell::new(1), state, others: RefCell::default() }
    }

    fn join(room: &TestRoom<Room>, id: u64) -> Self {
        let mut client = Client::new(id);
        client.connect(room);
        client
    }

    fn connect(&mut self, room: &TestRoom<Room>) {
        // The provider forgets the states of the others, and keeps their clocks.
        self.others.borrow_mut().values_mut().for_each(|(_, state)| *state = None);
        self.peer = Some(room.connect(Upgrade::new(Connection::default())));
        self.send(&Message::Sync(SyncMessage::SyncStep1(self.doc.transact().state_vector())));
        self.announce();
        self.pump();
    }

    fn peer(&self) -> &TestPeer<Room> {
        self.peer.as_ref().expect("a connection")
    }

    fn is_connected(&self) -> bool {
        self.peer.as_ref().is_some_and(TestPeer::is_open)
    }

    fn send(&self, message: &Message) {
        self.peer().send_binary(message.encode_v1());
    }

    fn announce(&self) {
        if let Some(state) = &self.state {
            let entry = entry(self.id, u64::from(*self.clock.borrow()), Some(state));
            self.peer().send_binary(wire::awareness([entry].iter()));
        }
    }

    /// Sends the state again, as each client does every 15 seconds.
    fn renew(&self) {
        *self.clock.borrow_mut() += 1;
        self.announce();
    }

    fn edit(&self, change: impl FnOnce(&TextRef, &mut yrs::TransactionMut<'_>)) {
        let update = {
            let mut transaction = self.doc.transact_mut();
            change(&self.text, &mut transaction);
            transaction.encode_update_v1()
        };
        if self.is_connected() {
            self.send(&Message::Sync(SyncMessage::Update(update)));
        }
    }

    fn insert(&self, at: u32, text: &str) {
        self.edit(|shared, transaction| shared.insert(transaction, at, text));
    }

    fn text(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    /// Handles everything that has arrived. Returns the number of frames.
    fn pump(&self) -> usize {
        let Some(peer) = &self.peer else { return 0 };
        let mut frames = 0;
        while let Some(frame) = peer.receive_any() {
            let TestFrame::Binary(bytes) = frame else {
                panic!("client {} got {frame:?}, which no provider reads", self.id)
            };
            frames += 1;
            match Message::decode_v1(&bytes).expect("a message of the protocol") {
                Message::Sync(SyncMessage::SyncStep1(vector)) => {
                    let missing = self.doc.transact().encode_state_as_update_v1(&vector);
                    self.send(&Message::Sync(SyncMessage::SyncStep2(missing)));
                }
                Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                    let update = Update::decode_v1(&update).expect("an update");
                    self.doc.transact_mut().apply_update(update).expect("an update that fits");
                }
                Message::Awareness(_) => self.learn(&bytes),
                Message::AwarenessQuery => self.answer_query(),
                message => panic!("client {} got {message:?}", self.id),
            }
        }
        frames
    }

    /// Applies states by the rules of y-protocols. The provider sends on what was news to it.
    fn learn(&self, bytes: &[u8]) {
        let messages = wire::read(bytes).expect("a message");
        let Some(wire::Message::Awareness(entries)) = messages.into_iter().next() else { panic!("{bytes:?}") };
        let mut news = Vec::new();
        for received in entries {
            let clock = u32::try_from(received.clock).expect("a small clock");
            if received.client == self.id {
                let mut own = self.clock.borrow_mut();
                let is_farewell = received.state.is_none() && clock >= *own;
                if is_farewell && self.state.is_some() {
                    *own = clock + 1;
                    news.push(entry(self.id, u64::from(*own), self.state.as_deref()));
                }
                continue;
            }
            let mut others = self.others.borrow_mut();
            let is_news = others.get(&received.client).is_none_or(|(known, state)| {
                *known < clock || (*known == clock && received.state.is_none() && state.is_some())
            });
            if is_news {
                others.insert(received.client, (clock, received.state.as_deref().map(str::to_owned)));
                news.push(received);
            }
        }
        if !news.is_empty() && self.is_connected() {
            self.peer().send_binary(wire::awareness(news.iter()));
        }
    }

    fn answer_query(&self) {
        let mut known: Vec<_> = self
            .others
            .borrow()
            .iter()
            .filter_map(|(client, (clock, state))| Some(entry(*client, u64::from(*clock), Some(state.as_deref()?))))
            .collect();
        known.extend(self.state.as_deref().map(|state| entry(self.id, u64::from(*self.clock.borrow()), Some(state))));
        self.peer().send_binary(wire::awareness(known.iter()));
    }

    /// The clients whose cursors this one shows.
    fn sees(&self) -> Vec<u64> {
        self.others.borrow().iter().filter(|(_, (_, state))| state.is_some()).map(|(client, _)| *client).collect()
    }
}

fn entry(client: u64, clock: u64, state: Option<&str>) -> wire::Entry {
    wire::Entry { client, clock, state: state.map(Into::into) }
}

/// Lets all messages arrive, also those that answer others.
fn settle<'a>(clients: impl IntoIterator<Item = &'a Client> + Clone) {
    for _ in 0..100 {
        if clients.clone().into_iter().map(Client::pump).sum::<usize>() == 0 {
            return;
        }
    }
    panic!("the clients do not come to rest");
}

/// The text in the database, read as a client would.
fn stored(room: &TestRoom<Room>) -> String {
    let snapshot: Vec<ByteBuf> = room.query("select data from snapshot order by part", ()).expect("a snapshot");
    let updates: Vec<ByteBuf> = room.query("select data from updates order by number", ()).expect("updates");
    let client = Client::new(1 << 40);
    let snapshot: Vec<u8> = snapshot.iter().flat_map(|part| part.iter().copied()).collect();
    for update in updates.iter().map(|update| &update[..]).chain((!snapshot.is_empty()).then_some(&snapshot[..])) {
        client.doc.transact_mut().apply_update(Update::decode_v1(update).expect("an update")).expect("it fits");
    }
    client.text()
}

fn rows(room: &TestRoom<Room>) -> (u64, u64) {
    room.query::<(u64, u64)>("select (select count(*) from snapshot), (select count(*) from updates)", ())
        .expect("rows")[0]
}

#[test]
fn what_one_client_writes_the_others_read() {
    let room = new_room();
    let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    ada.insert(0, "hello");
    settle([&ada, &bob]);
    bob.insert(5, " world");
    ada.insert(0, "\u{1f980} ");
    settle([&ada, &bob]);
    assert_eq!(ada.text(), "\u{1f980} hello world");
    assert_eq!(bob.text(), ada.text());
    let eve = Client::join(&room, 3);
    settle([&ada, &bob, &eve]);
    assert_eq!(eve.text(), ada.text());
    room.assert_no_errors();
}

#[test]
fn edits_made_offline_join_those_made_meanwhile() {
    let room = new_room();
    let (mut ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    ada.insert(0, "one two");
    settle([&ada, &bob]);
    ada.peer().disconnect();
    ada.edit(|text, transaction| text.remove_range(transaction, 0, 4));
    ada.insert(3, " three");
    bob.insert(0, "zero ");
    ada.connect(&room);
    settle([&ada, &bob]);
    assert_eq!(bob.text(), "zero two three");
    assert_eq!(ada.text(), bob.text());
}

#[test]
fn the_document_survives_hibernation_a_crash_and_a_restart() {
    let room = new_room();
    let mut ada = Client::join(&room, 1);
    ada.insert(0, "a");
    room.hibernate();
    ada.insert(1, "b");
    room.crash();
    settle([&ada]);
    ada.insert(2, "c");
    room.restart();
    ada.connect(&room);
    settle([&ada]);
    ada.insert(3, "d");
    ada.peer().close();
    assert_eq!(stored(&room), "abcd");
    let bob = Client::join(&room, 2);
    assert_eq!(bob.text(), "abcd");
}

#[test]
fn an_update_is_stored_before_it_is_sent() {
    let room = new_room();
    let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    settle([&ada, &bob]);
    room.fail_writes(true);
    ada.insert(0, "lost");
    settle([&bob]);
    assert_eq!(bob.text(), "", "nobody gets what is not stored");
    assert_eq!(ada.pump(), 0, "the provider could not read an error frame");
    assert_eq!(ada.peer().closed(), Some((1011, "the room failed".to_owned())));
    room.fail_writes(false);
    // The provider reconnects, and sends what the room lacks.
    let mut ada = ada;
    ada.connect(&room);
    settle([&ada, &bob]);
    assert_eq!(bob.text(), "lost");
    assert_eq!(stored(&room), "lost");
}

#[test]
fn what_is_nothing_new_is_not_stored() {
    let room = new_room();
    let mut ada = Client::join(&room, 1);
    ada.insert(0, "once");
    settle([&ada]);
    for _ in 0..3 {
        ada.peer().disconnect();
        ada.connect(&room);
        settle([&ada]);
    }
    assert_eq!(rows(&room), (0, 1));
}

#[test]
fn an_alarm_compacts_the_updates_into_a_snapshot() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    for at in 0..50 {
        ada.insert(at, "x");
    }
    ada.edit(|text, transaction| text.remove_range(transaction, 0, 25));
    assert_eq!(rows(&room), (0, 51));
    room.hibernate();
    room.advance(COMPACTION);
    assert_eq!(rows(&room), (1, 0));
    assert_eq!(stored(&room), "x".repeat(25));
    ada.insert(0, "y");
    settle([&ada]);
    assert_eq!(rows(&room), (1, 1));
    room.hibernate();
    assert_eq!(Client::join(&room, 2).text(), format!("y{}", "x".repeat(25)));
    room.advance(COMPACTION);
    assert_eq!(rows(&room), (1, 0), "each series of updates has its alarm");
    room.advance(COMPACTION * 10);
    room.assert_no_errors();
}

#[test]
fn a_compaction_that_fails_changes_nothing_and_is_repeated() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.insert(0, "kept");
    settle([&ada]);
    room.fail_writes(true);
    room.advance(COMPACTION);
    assert_eq!(rows(&room), (0, 1));
    room.fail_writes(false);
    room.advance(Duration::from_secs(600));
    assert_eq!(rows(&room), (1, 0));
    assert_eq!(stored(&room), "kept");
}

#[test]
fn a_compaction_that_fails_at_its_end_is_undone() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.insert(0, "kept");
    let trigger = "create trigger stop before delete on updates begin select raise(abort, 'not yet'); end";
    room.query::<()>(trigger, ()).expect("a trigger");
    room.advance(COMPACTION);
    assert_eq!(rows(&room), (0, 1));
    room.query::<()>("drop trigger stop", ()).expect("no trigger");
    room.advance(Duration::from_secs(600));
    assert_eq!(rows(&room), (1, 0));
}

/// Text that is different everywhere, so that `yrs` cannot make it smaller.
fn noise(bytes: usize, seed: u64) -> String {
    let mut random = Random(seed);
    (0..bytes).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

#[test]
fn a_large_document_is_stored_in_pieces() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    for part in 0..3 {
        ada.insert(0, &noise(900_000, part));
    }
    room.advance(COMPACTION);
    let parts: Vec<u64> = room.query("select length(data) from snapshot order by part", ()).expect("parts");
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|bytes| *bytes <= 1 << 20), "{parts:?}");
    room.hibernate();
    assert_eq!(Client::join(&room, 2).text(), ada.text());
}

#[test]
fn many_updates_do_not_wait_for_the_alarm() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.insert(0, &noise(600_000, 1));
    assert_eq!(rows(&room), (0, 1));
    ada.insert(0, &noise(600_000, 2));
    assert_eq!(rows(&room), (2, 0));
    settle([&ada]);
    assert!(ada.is_connected());
}

#[test]
fn a_full_document_takes_no_more_and_stays_readable() {
    let room = new_room();
    let mut ada = Client::join(&room, 1);
    for part in 0..4 {
        ada.insert(0, &noise(1_000_000, part));
    }
    let full = ada.text();
    let bob = Client::join(&room, 2);
    ada.insert(0, &noise(500_000, 9));
    let reason = "the document is full: it has at most 4194304 bytes and 100000 parts".to_owned();
    assert_eq!(ada.peer().closed(), Some((TOO_LARGE, reason)));
    settle([&bob]);
    assert!(bob.text() == full);
    bob.insert(0, "small");
    assert!(bob.is_connected(), "there is still room for a little");
    ada.peer = None;
    assert!(Client::join(&room, 3).text() == format!("small{full}"));
}

#[test]
fn text_that_was_deleted_makes_room() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    for part in 0..12 {
        ada.insert(0, &noise(1_000_000, part));
        ada.edit(|text, transaction| text.remove_range(transaction, 0, 1_000_000));
    }
    assert!(ada.is_connected());
    room.advance(COMPACTION);
    let bytes: Vec<u64> = room.query("select sum(length(data)) from snapshot", ()).expect("a sum");
    assert!(bytes[0] < 1_000, "{bytes:?}");
}

#[test]
fn frames_that_are_no_messages_close_their_own_connection_only() {
    let long = wire::update(&vec![0; 1 << 20]);
    let state = format!("\"{}\"", "x".repeat(MAX_STATE_BYTES));
    let bad_states = [
        wire::awareness([entry(9, 1, Some("{"))].iter()),
        wire::awareness([entry(9, 1, Some(&state))].iter()),
        wire::awareness([entry(1 << 53, 1, Some("{}"))].iter()),
    ];
    let mut cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("an empty frame", vec![], MALFORMED),
        ("an unknown type", vec![4], MALFORMED),
        ("an auth message", vec![2, 0, 1, b'x'], MALFORMED),
        ("an unknown step", vec![0, 3, 0], MALFORMED),
        ("a message that ends early", vec![0, 2, 5, 0], MALFORMED),
        ("a length of 2^49", vec![0, 2, 255, 255, 255, 255, 255, 255, 127], MALFORMED),
        ("a number without an end", vec![255; 20], MALFORMED),
        ("bytes after the message", vec![3, 9], MALFORMED),
        ("a state vector that promises more", vec![0, 0, 2, 9, 1], MALFORMED),
        ("an update that is none", vec![0, 2, 3, 1, 2, 3], MALFORMED),
        // Counts for which `yrs` would reserve memory.
        ("an update with 2^28 clients", vec![0, 2, 5, 255, 255, 255, 127, 0], MALFORMED),
        ("an update with 2^28 blocks", vec![0, 2, 8, 1, 255, 255, 255, 127, 1, 0, 0], MALFORMED),
        ("an update with an empty block", vec![0, 2, 7, 1, 1, 1, 0, 0, 0, 0], MALFORMED),
        ("a document inside the document", wire::update(&[1, 1, 5, 0, 9, 1, 1, b't', 1, b'g', 118, 0, 0]), MALFORMED),
        ("a large update", long, TOO_LARGE),
    ];
    cases.extend(bad_states.map(|frame| ("a bad state", frame, MALFORMED)));
    for (what, frame, code) in cases {
        let room = new_room();
        let (ada, eve) = (Client::join(&room, 1), Client::join(&room, 2));
        ada.insert(0, "before");
        settle([&ada, &eve]);
        eve.peer().send_binary(frame);
        assert_eq!(eve.pump(), 0, "{what}");
        assert_eq!(eve.peer().closed().map(|(code, _)| code), Some(code), "{what}");
        settle([&ada]);
        assert_eq!(ada.sees(), [0; 0], "{what}: its presence ends with its connection");
        ada.insert(6, " and after");
        assert_eq!(stored(&room), "before and after", "{what}");
        assert!(ada.is_connected(), "{what}");
        room.assert_no_errors();
    }
}

#[test]
fn a_text_frame_closes_its_connection_and_the_heartbeat_does_not() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.peer().send_raw("ping");
    assert_eq!(ada.peer().receive_raw().as_deref(), Some("pong"));
    assert!(ada.is_connected());
    ada.peer().send_raw("hello");
    assert_eq!(ada.pump(), 0);
    assert_eq!(ada.peer().closed().map(|(code, _)| code), Some(MALFORMED));
}

/// The tabs of one browser pass updates on to each other, so one can arrive before those it builds on.
#[test]
fn an_update_that_builds_on_another_makes_the_room_ask_for_it() {
    let room = new_room();
    let (ada, bob, eve) = (Client::join(&room, 1), Client::join(&room, 2), Client::new(3));
    eve.insert(0, "first");
    let missing = eve.doc.transact().encode_state_as_update_v1(&StateVector::default());
    ada.doc.transact_mut().apply_update(Update::decode_v1(&missing).expect("an update")).expect("it fits");
    ada.insert(5, " second");
    settle([&ada, &bob]);
    assert_eq!(bob.text(), "first second");
    assert_eq!(stored(&room), "first second");
}

#[test]
fn a_client_that_lacks_something_itself_is_asked_once() {
    let room = new_room();
    let (ada, eve) = (Client::join(&room, 1), Client::new(3));
    eve.insert(0, "first");
    let before = eve.doc.transact().state_vector();
    eve.insert(5, " second");
    let second = eve.doc.transact().encode_state_as_update_v1(&before);
    ada.doc.transact_mut().apply_update(Update::decode_v1(&second).expect("an update")).expect("it waits");
    ada.send(&Message::Sync(SyncMessage::Update(second)));
    settle([&ada]);
    assert!(ada.is_connected());
    assert_eq!(rows(&room), (0, 0));
    let mut eve = eve;
    eve.connect(&room);
    settle([&ada, &eve]);
    assert_eq!(ada.text(), "first second");
}

#[test]
fn several_messages_can_share_a_frame() {
    let room = new_room();
    let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    let update = {
        let mut transaction = ada.doc.transact_mut();
        ada.text.insert(&mut transaction, 0, "both");
        transaction.encode_update_v1()
    };
    ada.peer().send_binary([wire::update(&update), wire::awareness([entry(1, 7, Some("7"))].iter())].concat());
    settle([&bob]);
    assert_eq!(bob.text(), "both");
    assert_eq!(bob.others.borrow()[&1], (7, Some("7".to_owned())));
}

/// Damages valid updates at random. None of them may stop the room, or reach the others as something that they cannot read.
#[test]
fn damaged_updates_never_harm_the_others() {
    let (mut kept, mut refused) = (0, 0);
    for seed in 1..=400 {
        let mut random = Random(seed);
        let room = new_room();
        let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
        ada.insert(0, "hello");
        ada.edit(|text, transaction| {
            let bold = yrs::types::Attrs::from([("bold".into(), true.into())]);
            text.insert_with_attributes(transaction, 2, "bold", bold);
            text.remove_range(transaction, 1, 2);
        });
        settle([&ada, &bob]);
        let valid = ada.doc.transact().encode_state_as_update_v1(&StateVector::default());
        for _ in 0..20 {
            let mut update = valid.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(update.len() as u64) as usize;
                match random.below(3) {
                    0 => update[at] = random.below(256) as u8,
                    1 => update[at] ^= 1 << random.below(8),
                    _ => update.insert(at, random.below(256) as u8),
                }
            }
            let mut eve = Client::new(3);
            eve.peer = Some(room.connect(Upgrade::new(Connection::default())));
            eve.peer().send_binary(wire::update(&update));
            match eve.peer().closed() {
                None => kept += 1,
                Some((code, _)) => {
                    assert_eq!(code, MALFORMED, "seed {seed}: {update:?}");
                    refused += 1;
                }
            }
        }
        settle([&ada, &bob]);
        assert_eq!(ada.text(), bob.text(), "seed {seed}");
        room.hibernate();
        let late = Client::join(&room, 4);
        settle([&ada, &bob, &late]);
        assert_eq!(late.text(), ada.text(), "seed {seed}");
        room.assert_no_errors();
    }
    assert!(kept > 100 && refused > 100, "{kept} were kept and {refused} refused");
}

#[test]
fn the_present_see_each_other() {
    let room = new_room();
    let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    settle([&ada, &bob]);
    assert_eq!((ada.sees(), bob.sees()), (vec![2], vec![1]));
    let eve = Client::join(&room, 3);
    settle([&ada, &bob, &eve]);
    assert_eq!(eve.sees(), [1, 2]);
    eve.peer().close();
    settle([&ada, &bob]);
    bob.peer().disconnect();
    settle([&ada]);
    assert_eq!(ada.sees(), [0; 0]);
    room.assert_no_errors();
}

#[test]
fn each_sender_gets_its_own_state_back() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    settle([&ada]);
    for _ in 0..3 {
        room.hibernate();
        ada.renew();
        assert_eq!(ada.pump(), 1, "a provider that gets nothing for 30 seconds reconnects");
    }
}

#[test]
fn a_state_that_wakes_the_room_reads_no_document() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.insert(0, "text");
    settle([&ada]);
    room.hibernate();
    // A document that cannot be read is an error for whoever needs it.
    room.query::<()>("update updates set data = x'ff'", ()).expect("a damaged row");
    ada.renew();
    assert_eq!(ada.pump(), 1);
    room.assert_no_errors();
    ada.insert(0, "more");
    assert_eq!(ada.peer().closed(), Some((1011, "the room failed".to_owned())));
    assert!(room.take_log().iter().any(|line| line.contains("the stored document cannot be read")));
}

#[test]
fn a_connection_that_ends_in_a_hibernating_room_is_removed() {
    for is_lost in [false, true] {
        let room = new_room();
        let (ada, bob, eve) = (Client::join(&room, 1), Client::join(&room, 2), Client::join(&room, 3));
        settle([&ada, &bob, &eve]);
        bob.renew();
        settle([&ada, &bob, &eve]);
        room.hibernate();
        if is_lost {
            bob.peer().disconnect()
        } else {
            bob.peer().close()
        }
        settle([&ada, &eve]);
        assert_eq!((ada.sees(), eve.sees()), (vec![3], vec![1]));
        room.assert_no_errors();
    }
}

#[test]
fn who_joins_a_hibernating_room_sees_the_present() {
    let room = new_room();
    let (ada, bob) = (Client::join(&room, 1), Client::join(&room, 2));
    settle([&ada, &bob]);
    room.hibernate();
    let eve = Client::join(&room, 3);
    settle([&ada, &bob, &eve]);
    assert_eq!(eve.sees(), [1, 2]);
}

#[test]
fn who_reconnects_is_seen_at_once() {
    for cause in ["lost", "hibernated", "restarted"] {
        let room = new_room();
        let (mut ada, mut bob) = (Client::join(&room, 1), Client::join(&room, 2));
        settle([&ada, &bob]);
        match cause {
            "restarted" => {
                room.restart();
                ada.connect(&room);
            }
            "hibernated" => {
                room.hibernate();
                bob.peer().disconnect();
            }
            _ => bob.peer().disconnect(),
        }
        settle([&ada]);
        assert_eq!(ada.sees(), [0; 0], "{cause}");
        bob.connect(&room);
        settle([&ada, &bob]);
        assert_eq!(ada.sees(), [2], "{cause}");
        // The provider of bob has forgotten the others, and takes their states only with a higher clock.
        ada.renew();
        settle([&ada, &bob]);
        assert_eq!(bob.sees(), [1], "{cause}");
    }
}

#[test]
fn a_client_reconnects_before_its_lost_connection_is_noticed() {
    let room = new_room();
    let (ada, mut bob) = (Client::join(&room, 1), Client::join(&room, 2));
    settle([&ada, &bob]);
    let dead = bob.peer.take().expect("a connection");
    room.advance(Duration::from_secs(31));
    bob.connect(&room);
    bob.renew();
    settle([&ada, &bob]);
    assert_eq!(ada.others.borrow()[&2].0, 2);
    dead.disconnect();
    settle([&ada, &bob]);
    assert_eq!(ada.sees(), [2], "the end of the old connection is not that of the user");
}

#[test]
fn nobody_changes_or_ends_the_presence_of_somebody_else() {
    let room = new_room();
    let (ada, bob, eve) = (Client::join(&room, 1), Client::join(&room, 2), Client::join(&room, 3));
    settle([&ada, &bob, &eve]);
    for state in [None, Some(r#""eve was here""#)] {
        eve.peer().send_binary(wire::awareness([entry(2, 99, state)].iter()));
    }
    eve.peer().close();
    settle([&ada, &bob]);
    assert_eq!(ada.others.borrow()[&2], (1, bob.state.clone()));
}

#[test]
fn a_connection_has_one_client() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    let eve = Client::new(2);
    let peer = room.connect(Upgrade::new(Connection::default()));
    let many: Vec<_> = (100..200).map(|client| entry(client, 1, Some("{}"))).collect();
    peer.send_binary(wire::awareness(many.iter()));
    settle([&ada, &eve]);
    assert_eq!(ada.sees(), [100]);
}

#[test]
fn an_empty_room_keeps_nothing_in_memory() {
    let room = new_room();
    let ada = Client::join(&room, 1);
    ada.insert(0, "text");
    settle([&ada]);
    ada.peer().close();
    // The next client makes the room read the document again.
    room.query::<()>("delete from updates", ()).expect("an empty table");
    assert_eq!(Client::join(&room, 2).text(), "");
}

#[test]
fn a_name_is_the_path_after_ws() {
    assert_eq!(name("http://h/ws/notes"), Ok("notes".to_owned()));
    assert_eq!(name("http://h/ws/team/n%20%F0%9F%A6%80?x=1#y"), Ok("team/n \u{1f980}".to_owned()));
    assert_eq!(name("http://h/ws/a%2Fb"), Ok("a/b".to_owned()));
    for (url, status) in [
        ("http://h/ws/", 404),
        ("http://h/ws", 404),
        ("http://h", 404),
        ("http://h/d/x", 404),
        ("http://h/ws/%zz", 400),
        ("http://h/ws/%", 400),
        ("http://h/ws/%ff", 400),
    ] {
        assert_eq!(name(url).map_err(|(status, _)| status), Err(status), "{url}");
    }
    assert_eq!(name(&format!("http://h/ws/{}", "x".repeat(129))).map_err(|(status, _)| status), Err(400));
}

/// xorshift64*: the tests need chance that can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Seeds that differ by little begin alike.
        if self.0 < 1 << 32 {
            self.0 = (self.0 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// Clients edit, lose their connection, edit offline and return, while the room hibernates, crashes, restarts, compacts and fails to
/// store. In the end they all have the same text, and the database has it too.
#[test]
fn clients_converge_whatever_happens() {
    for seed in 1..=150 {
        let mut random = Random(seed);
        let room = seeded_room(seed);
        let mut clients: Vec<_> = (1..=4).map(|id| Client::join(&room, id)).collect();
        let mut fails = false;
        for step in 0..80 {
            let which = random.below(4) as usize;
            match random.below(40) {
                0 => room.hibernate(),
                1 => room.crash(),
                2 => room.restart(),
                3 => room.advance(COMPACTION),
                4..=5 => {
                    fails = !fails;
                    room.fail_writes(fails);
                }
                6..=8 if clients[which].is_connected() => clients[which].peer().disconnect(),
                9..=12 if !clients[which].is_connected() && !fails => clients[which].connect(&room),
                13..=15 => drop(clients[which].pump()),
                16 => settle(&clients),
                17..=18 if clients[which].is_connected() => clients[which].renew(),
                _ => {
                    let client = &clients[which];
                    let length = client.text().len() as u64;
                    if length > 0 && random.below(3) == 0 {
                        let at = random.below(length);
                        let count = 1 + random.below((length - at).min(5));
                        client.edit(|text, transaction| text.remove_range(transaction, at as u32, count as u32));
                    } else {
                        client.insert(random.below(length + 1) as u32, &format!("{}", step % 10));
                    }
                }
            }
        }
        room.fail_writes(false);
        for client in &mut clients {
            if !client.is_connected() {
                client.connect(&room);
            }
        }
        settle(&clients);
        let text = clients[0].text();
        for client in &clients {
            assert!(client.is_connected(), "seed {seed}: client {}", client.id);
            assert_eq!(client.text(), text, "seed {seed}: client {}", client.id);
        }
        assert_eq!(stored(&room), text, "seed {seed}");
        clients.iter().for_each(Client::renew);
        settle(&clients);
        for client in &clients {
            let others: Vec<_> = (1..=4).filter(|id| *id != client.id).collect();
            assert_eq!(client.sees(), others, "seed {seed}: client {}", client.id);
        }
    }
}

fn number(to: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

/// An update of client 1, from a clock on, with these blocks of length 1.
fn update_of(clock: u64, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut update = vec![1];
    for n in [blocks.len() as u64, 1, clock] {
        number(&mut update, n);
    }
    update.extend(blocks.concat());
    update.push(0);
    update
}

#[test]
fn shared_types_cannot_be_nested() {
    // A list and a document, in the text `t`.
    for content in [&[7, 1, 1, b't', 0][..], &[9, 1, 1, b't', 1, b'd', 118, 0]] {
        let room = new_room();
        let peer = room.connect(Upgrade::new(Connection::default()));
        peer.send_binary(wire::update(&update_of(0, &[content.to_vec()])));
        let reason = "this room does not keep content of this kind".to_owned();
        assert_eq!(peer.closed(), Some((4400, reason)), "{content:?}");
        assert_eq!(rows(&room), (0, 0));
    }
}

#[test]
fn a_document_has_a_bounded_number_of_parts() {
    let room = new_room();
    let peer = room.connect(Upgrade::new(Connection::default()));
    // Formats are the smallest parts that do not join.
    let format = |clock: u64| {
        let mut block = if clock == 0 { vec![6, 1, 1, b't'] } else { vec![0x86, 1] };
        if clock > 0 {
            number(&mut block, clock - 1);
        }
        block.extend([1, b'b', 4, b't', b'r', b'u', b'e']);
        block
    };
    let mut closed_at = None;
    for part in 0..6 {
        let blocks: Vec<_> = (part * 20_000..(part + 1) * 20_000).map(format).collect();
        peer.send_binary(wire::update(&update_of(part * 20_000, &blocks)));
        if let Some((code, _)) = peer.closed() {
            closed_at = Some((part, code));
            break;
        }
    }
    assert_eq!(closed_at, Some((5, 4413)));
    room.crash();
    assert!(room.connect(Upgrade::new(Connection::default())).closed().is_none(), "the document is readable");
}

#[test]
fn a_frame_has_few_messages() {
    let room = new_room();
    let victim = Client::join(&room, 1);
    victim.announce();
    room.hibernate();
    let eve = room.connect(Upgrade::new(Connection::default()));
    while victim.peer().receive_any().is_some() {}
    eve.send_binary(wire::query_awareness().repeat(100_000));
    assert_eq!(eve.closed().map(|(code, _)| code), Some(4400));
    let mut frames = 0;
    while victim.peer().receive_any().is_some() {
        frames += 1;
    }
    assert!(frames < 3, "the others got {frames} frames");
}

#[test]
fn a_connection_has_one_client_for_all_its_life() {
    let room = new_room();
    let bob = Client::join(&room, 9);
    bob.announce();
    let eve = room.connect(Upgrade::new(Connection::default()));
    let entries: Vec<_> =
        (100..200).flat_map(|client| [entry(client, 1, Some("{}")), entry(client, 2, None)]).collect();
    eve.send_binary(wire::awareness(entries.iter()));
    eve.send_binary(wire::awareness([entry(300, 1, Some("{}"))].iter()));
    settle([&bob]);
    assert!(bob.sees().into_iter().all(|client| client == 9 || client == 100), "{:?}", bob.sees());
    eve.send_binary(wire::awareness([entry(100, 3, Some("{}"))].iter()));
    settle([&bob]);
    assert!(bob.sees().contains(&100), "its own client can come back");
}
