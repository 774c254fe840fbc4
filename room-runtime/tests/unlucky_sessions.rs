//! Promises of replay, of sessions and of calls, under hostile or unlucky input.

use std::time::Duration;

use room_runtime::{
    Upgrade,
    testing::{TestFrame, TestPeer, TestRoom, World},
};
use serde_json::Value;

macro_rules! hall {
    ($name:ident($($options:tt)*)) => {
        #[room_runtime::room($($options)*)]
        mod $name {
            use std::time::Duration;

            #[allow(unused_imports)]
            use room_runtime::prelude::*;

            #[derive(Default)]
            pub struct State {
                pub handled: Vec<String>,
                pub starts: u32,
            }

            pub struct Connection {}

            pub enum Event {
                /// Says it to everyone.
                Say { text: String },
                /// Says it to everyone whose id is not this one, by a filter.
                NotTo { id: String, text: String },
                /// Sends it to the sender after a while.
                Later { text: String, ms: u64 },
                /// Refuses after a while, with a message.
                Refuse { text: String, ms: u64 },
                Note { text: String },
                Odd { text: String },
                /// Says it to all but the one who said it `ms` before.
                NotToMeLater { text: String, ms: u64 },
            }

            #[derive(Debug)]
            pub enum Broadcast {
                Said { text: String },
                /// Its JSON does not decode as itself, like that of a message which an earlier deploy has logged.
                Odd {
                    #[serde(rename(serialize = "text"))]
                    said: String,
                },
            }

            #[call]
            pub fn large(ctx: &Ctx) -> Result<String> {
                ctx.update(|state| state.handled.push("large".into()))?;
                Ok("x".repeat(900_000))
            }

            #[call]
            pub fn subtract(ctx: &Ctx, from: i32, what: i32) -> Result<i32> {
                ctx.update(|state| state.handled.push("subtract".into()))?;
                Ok(from - what)
            }

            pub fn on_start(ctx: &Ctx) -> Result {
                let starts = ctx.update(|state| { state.starts += 1; state.starts })?;
                if starts > 1 {
                    ctx.broadcast(&Broadcast::Said { text: "started".into() })?;
                }
                Ok(())
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                match event {
                    Event::Say { text } => drop(ctx.broadcast(&Broadcast::Said { text })?),
                    Event::NotTo { id, text } => {
                        drop(ctx.peers().filter(|peer| peer.id().as_str() != id).send(&Broadcast::Said { text })?)
                    }
                    Event::Later { text, ms } => {
                        let peer = ctx.sender().cloned();
                        ctx.spawn(async move |ctx| {
                            ctx.sleep(Duration::from_millis(ms)).await;
                            if let Some(peer) = peer {
                                peer.send(&Broadcast::Said { text })?;
                            }
                            Ok(())
                        });
                    }
                    Event::Refuse { text, ms } => {
                        ctx.sleep(Duration::from_millis(ms)).await;
                        return Err(ctx.refuse_with(&Broadcast::Said { text }));
                    }
                    Event::Note { text } => ctx.update(|state| state.handled.push(text))?,
                    Event::Odd { text } => drop(ctx.broadcast(&Broadcast::Odd { said: text })?),
                    Event::NotToMeLater { text, ms } => {
                        let peer = ctx.sender().cloned();
                        ctx.spawn(async move |ctx| {
                            ctx.sleep(Duration::from_millis(ms)).await;
                            if let Some(peer) = peer {
                                ctx.peers().except(&peer).send(&Broadcast::Said { text })?;
                            }
                            Ok(())
                        });
                    }
                }
                Ok(())
            }
        }
    };
}

hall!(logged(reconnect_grace = "10m", replay(messages = 100)));
hall!(narrow(reconnect_grace = "10m", replay(messages = 100), max_unread_bytes = 1000));
hall!(packed(reconnect_grace = "10m", replay(messages = 100), codec = "json, msgpack"));
hall!(forgetful(reconnect_grace = "10m", session_timeout = "1m"));
hall!(crowded(reconnect_grace = "10m", max_sessions = 1));
hall!(batched(reconnect_grace = "10m", replay(messages = 100), batch = "100ms"));

/// A room whose `on_close` waits.
#[room_runtime::room(reconnect_grace = "10m", replay(messages = 100))]
mod slow_to_close {
    use std::time::Duration;

    #[allow(unused_imports)]
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {}
    pub enum Broadcast {}

    pub async fn on_close(ctx: &Ctx, _: &Peer, _: Close) {
        ctx.sleep(Duration::from_secs(1)).await;
    }
}

/// A client of `room.v1`.
struct Client<R: room_runtime::Room> {
    peer: TestPeer<R>,
    token: String,
    welcome: Value,
    at: u64,
}

fn connect<R: room_runtime::Room>(
    room: &TestRoom<R>,
    id: &str,
    offer: Option<(&str, u64, u64)>,
    data: R::Connection,
) -> Client<R> {
    let offer = offer.map(|(token, from, at)| format!(", room.v1.resume.{token}.{from}.{at}")).unwrap_or_default();
    let request = http::Request::get("/").header("sec-websocket-protocol", format!("room.v1{offer}"));
    let peer =
        room.try_connect_with(request.body(()).expect("a request"), Upgrade::new(data).id(id)).expect("it is admitted");
    let first: Value = serde_json::from_str(&peer.receive_raw().expect("a welcome")).expect("JSON");
    let welcome = first[0][0]["welcome"].clone();
    Client {
        peer,
        token: welcome["session"].as_str().expect("a string").to_owned(),
        at: welcome["at"].as_u64().unwrap_or(0),
        welcome,
    }
}

impl<R: room_runtime::Room> Client<R> {
    fn event(&self, number: u64, kind: &str, fields: &str) {
        let comma = if fields.is_empty() { "" } else { "," };
        self.peer.send_raw(format!(r#"[{number},{{"type":"{kind}"{comma}{fields}}}]"#));
    }

    /// The texts that have arrived, and the positions.
    fn hear(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(frame) = self.peer.receive_raw() {
            let frame: Vec<Value> = serde_json::from_str(&frame).expect("JSON");
            for control in frame[0].as_array().expect("a list") {
                if let Some(at) = control["at"].as_u64() {
                    assert!(at > self.at, "position {at} after {}", self.at);
                    self.at = at;
                }
            }
            texts.extend(frame[1..].iter().map(|message| message["text"].as_str().unwrap_or("?").to_owned()));
        }
        texts
    }

    fn again(&self, room: &TestRoom<R>, id: &str, from: u64, data: R::Connection) -> Client<R> {
        let mut client = connect(room, id, Some((&self.token, from, self.at)), data);
        if client.welcome["gap"] == false {
            client.at = self.at;
        }
        client
    }
}

#[test]
fn a_message_of_on_start_reaches_a_peer_that_a_restart_has_disconnected() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Say", r#""text":"one""#);
    assert_eq!(ann.hear(), ["one"]);
    room.restart();
    // The room starts, for example for the Worker, before the client is back.
    drop(room.state());
    assert!(room.stored_state().expect("a state").contains(r#""starts":2"#));
    let mut back = ann.again(&room, "ann", 2, Connection {});
    assert_eq!((back.welcome["resumed"].clone(), back.welcome["gap"].clone()), (true.into(), false.into()));
    assert_eq!(back.hear(), ["started"]);
}

#[test]
fn a_message_by_a_filter_reaches_a_peer_whose_loss_the_room_has_not_handled() {
    use logged::*;
    for seed in 0..20 {
        let room = World::with_seed(seed).room::<Room>("r");
        let ann = connect(&room, "ann", None, Connection {});
        let bob = connect(&room, "bob", None, Connection {});
        room.world().together(|| {
            bob.event(1, "NotTo", r#""id":"bob","text":"one""#);
            ann.peer.disconnect();
        });
        let mut back = ann.again(&room, "ann", 1, Connection {});
        assert_eq!(back.welcome["gap"], false);
        assert_eq!(back.hear(), ["one"], "seed {seed}");
    }
}

#[test]
fn a_message_to_everyone_reaches_the_last_peer_whose_loss_the_room_has_not_handled() {
    use logged::*;
    for seed in 0..20 {
        let room = World::with_seed(seed).room::<Room>("r");
        let ann = connect(&room, "ann", None, Connection {});
        room.world().together(|| {
            ann.event(0, "Say", r#""text":"one""#);
            ann.event(0, "Say", r#""text":"two""#);
            ann.peer.disconnect();
        });
        let mut back = ann.again(&room, "ann", 1, Connection {});
        assert_eq!(back.welcome["gap"], false);
        let heard = back.hear();
        assert!(heard == ["one", "two"], "seed {seed}: {heard:?}");
    }
}

#[test]
fn a_task_that_holds_a_peer_reaches_it_after_it_has_resumed() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Later", r#""text":"late","ms":10000"#);
    ann.hear();
    ann.peer.disconnect();
    room.advance(Duration::from_secs(2));
    let mut ann = ann.again(&room, "ann", 2, Connection {});
    assert_eq!(ann.welcome["gap"], false);
    room.advance(Duration::from_secs(20));
    room.assert_no_errors();
    ann.event(2, "Say", r#""text":"after""#);
    assert_eq!(ann.hear(), ["late", "after"]);
}

#[test]
fn a_task_that_holds_a_peer_whose_grace_is_over_gets_an_error() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Later", r#""text":"late","ms":1200000"#);
    ann.peer.disconnect();
    room.advance(Duration::from_secs(1300));
    assert_eq!(room.take_log().len(), 1, "the send to a peer that is gone succeeded");
}

#[test]
fn the_message_of_a_refusal_reaches_a_peer_that_is_away() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.hear();
    ann.event(1, "Refuse", r#""text":"no, because","ms":1000"#);
    ann.peer.disconnect();
    room.advance(Duration::from_secs(5));
    let mut back = ann.again(&room, "ann", 1, Connection {});
    assert_eq!(back.welcome["gap"], false);
    assert_eq!(back.welcome["last"], 1);
    assert_eq!(back.hear(), ["no, because"]);
}

#[test]
fn the_message_of_a_refusal_reaches_a_peer_that_has_resumed_meanwhile() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.hear();
    ann.event(1, "Refuse", r#""text":"no, because","ms":1000"#);
    let mut back = ann.again(&room, "ann", 1, Connection {});
    room.advance(Duration::from_secs(5));
    assert_eq!(back.hear(), ["no, because"]);
}

#[test]
fn a_client_that_was_sent_much_that_it_missed_is_no_slow_consumer() {
    use narrow::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    let bob = connect(&room, "bob", None, Connection {});
    ann.hear();
    ann.peer.disconnect();
    let text = "x".repeat(300);
    for number in 1..=8 {
        bob.event(number, "Say", &format!(r#""text":"{text}""#));
    }
    let mut ann = ann.again(&room, "ann", 1, Connection {});
    assert_eq!(ann.welcome["gap"], false);
    assert_eq!(ann.hear().len(), 8);
    bob.event(9, "Say", r#""text":"next""#);
    assert_eq!(ann.peer.closed(), None);
    assert_eq!(ann.hear(), ["next"]);
}

#[test]
fn a_message_that_cannot_be_translated_for_a_replay_is_a_gap() {
    use packed::*;
    let room = TestRoom::<Room>::new("r");
    let request = |offer: &str| {
        let offer = format!("room.v1.msgpack{offer}");
        http::Request::get("/").header("sec-websocket-protocol", offer).body(()).expect("a request")
    };
    let welcome = |peer: &TestPeer<Room>| -> Value {
        let Some(TestFrame::Binary(bytes)) = peer.receive_any() else { panic!("no binary frame") };
        let frame: Value = rmp_serde::from_slice(&bytes).expect("MessagePack");
        frame[0][0]["welcome"].clone()
    };
    let ann = room.try_connect_with(request(""), Upgrade::new(Connection {}).id("ann")).expect("admitted");
    let first = welcome(&ann);
    let bob = connect(&room, "bob", None, Connection {});
    bob.event(1, "Odd", r#""text":"odd""#);
    ann.disconnect();
    let (session, at) = (first["session"].as_str().expect("a token"), &first["at"]);
    let offer = format!(", room.v1.resume.{session}.1.{at}");
    let back = room.try_connect_with(request(&offer), Upgrade::new(Connection {}).id("ann")).expect("admitted");
    let again = welcome(&back);
    assert_eq!((again["resumed"].clone(), again["gap"].clone()), (true.into(), true.into()));
    assert!(back.receive_any().is_none());
    assert_eq!(room.take_log().len(), 1, "the room says that it could not translate the message");
}

#[test]
fn an_event_is_not_handled_twice_when_the_session_is_older_than_its_timeout() {
    use forgetful::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Note", r#""text":"one""#);
    // The acknowledgement is lost with the connection.
    ann.peer.disconnect();
    ann.hear();
    room.advance(Duration::from_secs(120));
    let back = ann.again(&room, "ann", 1, Connection {});
    if back.welcome["resumed"] == true {
        back.event(1, "Note", r#""text":"one""#);
    }
    assert_eq!(room.state().expect("a state").expect("readable").handled, ["one"], "{}", back.welcome);
}

#[test]
fn an_event_is_not_handled_twice_when_the_session_was_forgotten_for_others() {
    use crowded::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Note", r#""text":"one""#);
    ann.peer.disconnect();
    ann.hear();
    room.advance(Duration::from_millis(10));
    let bob = connect(&room, "bob", None, Connection {});
    bob.event(1, "Note", r#""text":"bobs""#);
    room.advance(Duration::from_millis(10));
    let cat = connect(&room, "cat", None, Connection {});
    cat.event(1, "Note", r#""text":"cats""#);
    let back = ann.again(&room, "ann", 1, Connection {});
    if back.welcome["resumed"] == true {
        back.event(1, "Note", r#""text":"one""#);
    }
    let handled = room.state().expect("a state").expect("readable").handled;
    assert_eq!(handled.iter().filter(|text| *text == "one").count(), 1, "{} {handled:?}", back.welcome);
}

#[test]
fn a_worker_that_gives_a_resume_token_does_not_make_an_unknown_session_known() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    ann.peer.disconnect();
    let unknown = "0f".repeat(16);
    let request = http::Request::get("/")
        .header("sec-websocket-protocol", format!("room.v1, room.v1.resume.{unknown}.7.{}", ann.at));
    let upgrade = Upgrade::new(Connection {}).id("ann").resume(&*ann.token);
    let peer = room.try_connect_with(request.body(()).expect("a request"), upgrade).expect("admitted");
    let first: Value = serde_json::from_str(&peer.receive_raw().expect("a frame")).expect("JSON");
    assert_eq!(first[0][0]["welcome"]["resumed"], false, "{first}");
}

#[test]
fn a_batch_is_not_lost_with_the_connection() {
    use batched::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    let bob = connect(&room, "bob", None, Connection {});
    bob.event(1, "Say", r#""text":"one""#);
    let mut back = ann.again(&room, "ann", 1, Connection {});
    bob.event(2, "Say", r#""text":"two""#);
    bob.event(3, "NotTo", r#""text":"three","id":"bob""#);
    room.advance(Duration::from_secs(1));
    ann.hear();
    assert_eq!(back.hear(), ["one", "two", "three"]);
}

#[test]
fn what_is_not_for_a_peer_does_not_reach_it_after_it_has_resumed() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    let mut bob = connect(&room, "bob", None, Connection {});
    ann.event(1, "NotToMeLater", r#""text":"not ann","ms":10000"#);
    ann.hear();
    ann.peer.disconnect();
    room.advance(Duration::from_secs(2));
    let mut ann = ann.again(&room, "ann", 2, Connection {});
    room.advance(Duration::from_secs(20));
    assert_eq!(bob.hear(), ["not ann"]);
    assert_eq!(ann.hear(), [""; 0]);
}

#[test]
fn the_large_answers_of_a_session_are_not_all_repeated_at_a_resume() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    for number in 1..=64 {
        ann.peer.send_raw(format!("[{number},\"large\",{{}}]"));
    }
    let stored = room.stats().expect("readable").stored_bytes;
    assert!(stored < 5_000_000, "{stored}");
    let back = connect(&room, "ann", Some((&ann.token, 1, ann.at)), Connection {});
    let frames: Vec<String> = std::iter::from_fn(|| back.peer.receive_raw()).collect();
    let bytes: usize = frames.iter().map(String::len).sum();
    assert!((900_000..5_000_000).contains(&bytes), "{bytes}");
    // The last answer is there, and the others are errors that say so.
    assert_eq!(frames.concat().matches("value_too_large").count(), 63);
}

#[test]
fn a_message_that_the_socket_did_not_take_is_not_covered_by_a_later_position() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    let bob = connect(&room, "bob", None, Connection {});
    bob.event(1, "Say", r#""text":"one""#);
    ann.peer.fail_sends(true);
    bob.event(2, "Say", r#""text":"two""#);
    ann.peer.fail_sends(false);
    bob.event(3, "Say", r#""text":"three""#);
    let mut heard = ann.hear();
    let mut back = ann.again(&room, "ann", 1, Connection {});
    assert_eq!(back.welcome["gap"], false);
    heard.extend(back.hear());
    assert_eq!(heard, ["one", "two", "three"]);
}

#[test]
fn a_call_by_position_is_no_call() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    ann.peer.send_raw(r#"[1,"subtract",[5,3]]"#);
    let answer = ann.peer.receive_raw().expect("a frame");
    assert!(answer.contains("error"), "{answer}");
}

#[test]
fn a_peer_of_the_kit_that_has_resumed_calls_with_new_numbers() {
    use logged::{Calls as _, *};
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    assert_eq!(ann.peer.subtract(5, 3).expect("an answer"), 2);
    let back = connect(&room, "ann", Some((&ann.token, 2, ann.at)), Connection {});
    assert_eq!(back.peer.subtract(10, 3).expect("an answer"), 7);
}

#[test]
fn a_filtered_message_reaches_an_away_peer_after_hibernation() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    let bob = connect(&room, "bob", None, Connection {});
    ann.peer.disconnect();
    room.hibernate();
    bob.event(1, "NotTo", r#""id":"bob","text":"one""#);
    room.hibernate();
    room.crash();
    bob.event(2, "NotTo", r#""id":"ann","text":"not ann""#);
    bob.event(3, "Say", r#""text":"two""#);
    let mut back = ann.again(&room, "ann", 1, Connection {});
    assert_eq!(back.welcome["gap"], false);
    let mut heard = back.hear();
    heard.retain(|text| text != "started");
    assert_eq!(heard, ["one", "two"]);
}

#[test]
fn a_log_whose_storage_fails_for_a_while_misses_nothing_silently() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    let mut bob = connect(&room, "bob", None, Connection {});
    ann.peer.disconnect();
    bob.event(1, "Say", r#""text":"one""#);
    room.fail_writes(true);
    bob.event(0, "Say", r#""text":"two""#);
    room.fail_writes(false);
    room.fail_reads(true);
    bob.event(0, "Say", r#""text":"three""#);
    for _ in 0..200 {
        bob.event(0, "Say", r#""text":"many""#);
    }
    room.fail_reads(false);
    bob.event(0, "Say", r#""text":"four""#);
    let heard = bob.hear();
    room.take_log();
    let mut back = ann.again(&room, "ann", 1, Connection {});
    if back.welcome["gap"] == false {
        assert_eq!(back.hear(), heard);
    }
}

#[test]
fn a_forged_token_does_not_take_the_place_of_another_session() {
    use crowded::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Note", r#""text":"one""#);
    room.advance(Duration::from_millis(10));
    let eve = connect(&room, "eve", None, Connection {});
    for n in 0..20 {
        // The time and the life of the room are in each token; the rest is eve's own.
        let forged = format!("{}{n:016x}", &eve.token[..16]);
        connect(&room, "eve", Some((&forged, 1, 0)), Connection {});
    }
    ann.peer.disconnect();
    let back = ann.again(&room, "ann", 2, Connection {});
    assert_eq!((back.welcome["resumed"].clone(), back.welcome["last"].clone()), (true.into(), 1.into()));
}

#[test]
fn a_failure_that_cannot_be_read_is_not_repeated_as_a_success() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let mut ann = connect(&room, "ann", None, Connection {});
    ann.event(1, "Refuse", r#""text":"no","ms":0"#);
    ann.hear();
    room.fail_reads(true);
    ann.event(1, "Refuse", r#""text":"no","ms":0"#);
    let answer = ann.peer.receive_raw().expect("a frame");
    assert!(!answer.contains("ack"), "{answer}");
}

#[test]
fn a_client_of_another_place_is_told_of_a_gap() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    // Two tabs of one user. The Worker gives the resume token of the first, the client offers the session of the second.
    let first = connect(&room, "ann", None, Connection {});
    let mut second = connect(&room, "ann", None, Connection {});
    first.peer.disconnect();
    let bob = connect(&room, "bob", None, Connection {});
    second.hear();
    bob.event(1, "Say", r#""text":"one""#);
    let heard = second.hear();
    assert_eq!(heard, ["one"]);
    second.peer.disconnect();
    let request = http::Request::get("/")
        .header("sec-websocket-protocol", format!("room.v1, room.v1.resume.{}.1.{}", second.token, second.at));
    let upgrade = Upgrade::new(Connection {}).id("ann").resume(&*first.token);
    let peer = room.try_connect_with(request.body(()).expect("a request"), upgrade).expect("admitted");
    let welcome: Value = serde_json::from_str(&peer.receive_raw().expect("a frame")).expect("JSON");
    assert_eq!(welcome[0][0]["welcome"]["gap"], true, "{welcome}");
}

#[test]
fn a_session_of_which_no_number_has_arrived_is_known_after_the_clock_was_set_back() {
    use logged::*;
    let room = TestRoom::<Room>::new("r");
    let ann = connect(&room, "ann", None, Connection {});
    room.world().step_clock(-5_000);
    let bob = connect(&room, "bob", None, Connection {});
    room.restart();
    for (client, id) in [(ann, "ann"), (bob, "bob")] {
        let back = client.again(&room, id, 1, Connection {});
        assert_eq!((&back.welcome["resumed"], &back.welcome["gap"]), (&true.into(), &false.into()), "{id}");
    }
}

#[test]
fn an_event_that_fails_while_storage_does_is_not_acknowledged_to_a_client_that_resumes() {
    use logged::*;
    for stores_more in [false, true] {
        let room = TestRoom::<Room>::new("r");
        let ann = connect(&room, "ann", None, Connection {});
        room.fail_writes(true);
        ann.event(1, "Note", r#""text":"one""#);
        room.fail_writes(false);
        if stores_more {
            ann.event(2, "Note", r#""text":"two""#);
            room.hibernate();
        }
        // The frames that have arrived are lost with the connection.
        ann.peer.disconnect();
        let back = ann.again(&room, "ann", 1, Connection {});
        let outcomes: String = std::iter::from_fn(|| back.peer.receive_raw()).collect();
        // Otherwise the client sends the event again.
        let is_open = back.welcome["last"] == 0 && !stores_more;
        assert!(is_open || outcomes.contains(r#"{"error":{"n":1,"#), "{stores_more}: {outcomes} {}", back.welcome);
        assert!(!room.stored_state().unwrap_or_default().contains("one"));
    }
}

#[test]
fn a_session_that_moves_to_another_place_while_its_old_one_closes_is_there_after_a_restart() {
    use slow_to_close::*;
    let room = TestRoom::<Room>::new("r");
    let first = connect(&room, "ann", None, Connection {});
    first.peer.close();
    assert!(room.is_busy(), "the first place is closing");
    let second = first.again(&room, "ann", 1, Connection {});
    assert_eq!(second.token, first.token);
    room.restart();
    let third = second.again(&room, "ann", 1, Connection {});
    // It is the place of the second connection: another one would have a gap.
    assert_eq!((&third.welcome["resumed"], &third.welcome["gap"]), (&true.into(), &false.into()));
}
