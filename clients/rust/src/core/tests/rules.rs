//! The rules one by one. Each test is a promise of docs/protocol.md or of the client's README.

use std::time::Duration;

use serde_json::{Value, json};

use super::config;
use crate::{
    Close, ConnectError, ErrorKind, Overflow, Queue, Reconnect, Status,
    core::{Codec, Command, Config, Core, Event, Item, Outcome, wire},
    transport::Frame,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Rig {
    core: Core,
    now: Duration,
    next_id: u64,
}

impl Rig {
    fn with(config: Config) -> Self {
        let mut rig = Rig { core: Core::new(config, Duration::ZERO, 1), now: Duration::ZERO, next_id: 1 };
        assert!(matches!(rig.core.command.take(), Some(Command::Connect(_))));
        rig
    }

    fn open(config: Config, welcome: Value) -> Self {
        let mut rig = Rig::with(config);
        rig.opened();
        rig.frame(json!([[welcome]]));
        rig
    }

    fn new() -> Self {
        Rig::open(config(), welcome(json!({})))
    }

    fn opened(&mut self) {
        let protocol = self.core.codec().protocol();
        self.core.opened(self.now, Some(protocol));
    }

    fn frame(&mut self, frame: Value) {
        self.core.received(self.now, Frame::Text(frame.to_string()));
    }

    fn add(&mut self) -> u64 {
        self.add_item("\"e\"", None)
    }

    fn call(&mut self) -> u64 {
        self.add_item("\"f\",{}", Some("f"))
    }

    fn add_item(&mut self, body: &str, call: Option<&str>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.core.add(Item { id, body: Frame::Text(body.to_owned()), call: call.map(Into::into) });
        id
    }

    /// Takes the frames for the room.
    fn out(&mut self) -> Vec<String> {
        let text = |frame| match frame {
            Frame::Text(text) => text,
            other => format!("{other:?}"),
        };
        self.core.outbox.out.drain(..).map(text).collect()
    }

    /// Takes the outcomes: the id with `ok`, the answer or the code of the error.
    fn ended(&mut self) -> Vec<(u64, String)> {
        let text = |outcome| match outcome {
            Outcome::Handled => "ok".to_owned(),
            Outcome::Answered(answer) => format!("{:?}", answer.outcome.map(text_of).map_err(text_of)),
            Outcome::Failed(error) => error.code().to_owned(),
        };
        self.core.outbox.ended.drain(..).map(|(id, outcome)| (id, text(outcome))).collect()
    }

    /// Takes the items for the program, in short.
    fn events(&mut self) -> Vec<String> {
        let text = |event| match event {
            Event::Message(message) => text_of(message),
            Event::Status(Status::Connecting) => "connecting".to_owned(),
            Event::Status(Status::Open { resumed, gap }) => format!("open {resumed} {gap}"),
            Event::Status(Status::Reconnecting { attempt, reason, .. }) => {
                format!("reconnecting {attempt} {}", reason.code)
            }
            Event::Status(Status::Closed(close)) => format!("closed {}", close.code),
            Event::Gap { resumed } => format!("gap {resumed}"),
            Event::Error(error) => format!("error {}", error.code()),
            Event::Undecodable(error, _) => format!("undecodable {}", error.code()),
            Event::Bytes(bytes) => format!("bytes {bytes:?}"),
        };
        self.core.events.drain(..).map(text).collect()
    }

    fn lose(&mut self) {
        self.core.disconnected(self.now, Close::lost(None));
    }

    /// Waits for the next attempt, and returns the subprotocols that it offers.
    fn reconnect(&mut self) -> Vec<String> {
        self.now = self.core.deadline().expect("it waits");
        self.core.tick(self.now);
        let Some(Command::Connect(protocols)) = self.core.command.take() else { panic!("it does not connect") };
        self.opened();
        protocols
    }

    fn tick_to(&mut self, seconds: u64) {
        let end = Duration::from_secs(seconds);
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.core.tick(deadline);
        }
        self.now = end;
    }

    fn status(&self) -> &Status {
        self.core.status()
    }
}

fn text_of(frame: Frame) -> String {
    match frame {
        Frame::Text(text) => text,
        other => format!("{other:?}"),
    }
}

fn welcome(fields: Value) -> Value {
    let mut welcome =
        json!({ "session": TOKEN, "resumed": false, "last": 0, "window": 4, "heartbeat": ["ping", "pong"] });
    let fields = fields.as_object().cloned().unwrap_or_default();
    welcome.as_object_mut().expect("a map").extend(fields);
    json!({ "welcome": welcome })
}

fn ok(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    ids.into_iter().map(|id| (id, "ok".to_owned())).collect()
}

#[test]
fn numbers_rise_and_the_window_bounds_them() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        rig.add();
    }
    assert_eq!(rig.out(), ["[1,\"e\"]", "[2,\"e\"]", "[3,\"e\"]", "[4,\"e\"]"]);
    rig.frame(json!([[{ "ack": 1 }]]));
    assert_eq!(rig.out(), ["[5,\"e\"]"]);
    rig.frame(json!([[{ "ack": 5 }]]));
    assert_eq!(rig.ended(), ok(1..=5));
    assert_eq!(rig.out(), ["[6,\"e\"]"]);
}

#[test]
fn an_outcome_of_its_own_comes_before_the_ack_that_covers_it() {
    let mut rig = Rig::new();
    rig.add();
    rig.add();
    rig.call();
    let error = json!({ "error": { "n": 2, "code": "invalid", "message": "no", "retry_after_ms": 5, "violations": [{ "path": "a", "message": "b" }] } });
    rig.frame(json!([[{ "ack": 3 }, error, { "answer": { "n": 3, "value": [1] } }], { "m": 1 }]));
    let ended = rig.ended();
    let expected = [(2, "invalid"), (3, "Ok(\"[1]\")"), (1, "ok")].map(|(id, end)| (id, end.to_owned()));
    assert_eq!(ended, expected);
    assert_eq!(rig.events().last().map(String::as_str), Some("{\"m\":1}"));
}

#[test]
fn the_details_of_an_error_are_kept() {
    let mut rig = Rig::new();
    rig.add();
    let details = json!({ "n": 1, "code": "rate_limited", "message": "no", "retry_after_ms": 1500, "violations": [{ "path": "a.b", "message": "too long" }] });
    rig.frame(json!([[{ "error": details }]]));
    let Some((1, Outcome::Failed(error))) = rig.core.outbox.ended.pop() else { panic!("it failed") };
    assert_eq!((error.kind(), error.code(), error.number()), (ErrorKind::Room, "rate_limited", Some(1)));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    assert_eq!((&*error.violations()[0].path, &*error.violations()[0].message), ("a.b", "too long"));
    assert_eq!(error.to_string(), "no (rate_limited)");
}

#[test]
fn a_call_has_an_answer_an_error_or_neither() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.call();
    }
    assert_eq!(rig.out()[0], "[1,\"f\",{}]");
    let answers = [
        json!({ "answer": { "n": 1, "value": null } }),
        json!({ "answer": { "n": 2, "error": null } }),
        json!({ "answer": { "n": 3 } }),
        json!({ "ack": 4 }),
    ];
    rig.frame(json!([answers]));
    let expected = [(1, "Ok(\"null\")"), (2, "Err(\"null\")"), (3, "Ok(\"null\")"), (4, "no_answer")];
    assert_eq!(rig.ended(), expected.map(|(id, end)| (id, end.to_owned())));
}

#[test]
fn the_arguments_of_a_call_are_an_object() {
    let body = |args: Value| Codec::Json.encode_call("f", &args).map(text_of).map_err(|error| error.kind());
    assert_eq!(body(json!({ "a": 1 })), Ok("\"f\",{\"a\":1}".to_owned()));
    assert_eq!(body(Value::Null), Ok("\"f\",{}".to_owned()));
    assert_eq!(body(json!([1])), Err(ErrorKind::Encode));
    assert_eq!(body(json!("a")), Err(ErrorKind::Encode));
}

#[test]
fn an_event_that_is_given_up_before_it_was_sent_leaves_no_hole() {
    let mut rig = Rig::with(config());
    let ids = [rig.add(), rig.add(), rig.add()];
    rig.core.outbox.remove(ids[1]);
    rig.opened();
    rig.frame(json!([[welcome(json!({}))]]));
    assert_eq!(rig.out().len(), 2);
    // That one was sent, and stays.
    rig.core.outbox.remove(ids[0]);
    rig.frame(json!([[{ "ack": 2 }]]));
    assert_eq!(rig.ended(), ok([ids[0], ids[2]]));
}

#[test]
fn a_resumed_session_goes_on_and_sends_what_the_room_has_not_got() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.add();
    }
    rig.frame(json!([[{ "ack": 1 }]]));
    rig.out();
    rig.lose();
    let offer = format!("room.v1.resume.{TOKEN}.2.0");
    assert_eq!(rig.reconnect(), ["room.v1", &offer]);
    rig.ended();
    // `last` settles nothing: the outcomes follow, each perhaps in a frame of its own.
    rig.frame(json!([[welcome(json!({ "resumed": true, "last": 2, "gap": true }))]]));
    assert_eq!(rig.ended(), []);
    let error = json!({ "error": { "n": 2, "code": "refused", "message": "no" } });
    rig.frame(json!([[error]]));
    rig.frame(json!([[{ "ack": 2 }]]));
    assert_eq!(rig.ended(), [(2, "refused".to_owned())]);
    assert_eq!(rig.out(), ["[3,\"e\"]"]);
    rig.lose();
    rig.reconnect();
    rig.frame(json!([[welcome(json!({ "resumed": true, "last": 3, "gap": true }))]]));
    rig.frame(json!([[{ "ack": 3 }]]));
    assert_eq!(rig.ended(), ok([3]));
    assert_eq!(rig.out(), [""; 0]);
}

#[test]
fn a_room_that_lost_settled_numbers_is_informed_before_anything_is_sent() {
    let mut rig = Rig::new();
    rig.add();
    rig.add();
    rig.frame(json!([[{ "ack": 2 }]]));
    rig.add();
    rig.out();
    rig.lose();
    rig.reconnect();
    rig.frame(json!([[welcome(json!({ "resumed": true, "last": 0, "gap": true }))]]));
    assert_eq!(rig.out(), ["{\"from\":3}", "[3,\"e\"]"]);
    rig.frame(json!([[{ "resend": 2 }]]));
    assert_eq!(rig.out(), ["{\"from\":3}", "[3,\"e\"]"]);
    rig.frame(json!([[{ "resend": 3 }]]));
    assert_eq!(rig.out(), ["[3,\"e\"]"]);
    // A number that was never sent cannot be sent again.
    rig.frame(json!([[{ "resend": 9 }]]));
    assert_eq!(rig.out(), [""; 0]);
}

#[test]
fn a_session_that_is_not_known_fails_what_was_sent_and_keeps_what_was_not() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        rig.add();
    }
    rig.out();
    rig.lose();
    rig.reconnect();
    rig.events();
    // The gap follows from the offer, also if the room does not say so.
    rig.frame(json!([[welcome(json!({ "session": "ff", "at": 7 }))], "snapshot"]));
    assert_eq!(rig.ended(), [1, 2, 3, 4].map(|id| (id, "session_lost".to_owned())));
    assert_eq!(rig.out(), ["[1,\"e\"]"]);
    assert_eq!(rig.events(), ["open false true", "gap false", "\"snapshot\""]);
    rig.lose();
    assert_eq!(rig.reconnect()[1], "room.v1.resume.ff.1.7");
}

#[test]
fn the_position_is_that_of_the_messages_and_after_a_gap_that_of_the_welcome() {
    let mut rig = Rig::open(config(), welcome(json!({ "at": 3 })));
    rig.frame(json!([[{ "at": 4 }], "m"]));
    rig.lose();
    assert!(rig.reconnect()[1].ends_with(".1.4"));
    // Replayed in two frames, of which the second is lost.
    rig.frame(json!([[welcome(json!({ "resumed": true, "at": 9 })), { "at": 6 }], "m", "m"]));
    rig.lose();
    assert!(rig.reconnect()[1].ends_with(".1.6"));
    rig.frame(json!([[welcome(json!({ "resumed": true, "at": 9 }))]]));
    rig.lose();
    assert!(rig.reconnect()[1].ends_with(".1.6"));
    rig.frame(json!([[welcome(json!({ "resumed": true, "at": 9, "gap": true }))]]));
    rig.lose();
    assert!(rig.reconnect()[1].ends_with(".1.9"));
    rig.frame(json!([[welcome(json!({ "resumed": true, "gap": true }))]]));
    rig.lose();
    assert!(rig.reconnect()[1].ends_with(".1.0"));
}

#[test]
fn frames_that_break_the_protocol_are_items() {
    let mut rig = Rig::with(config());
    rig.opened();
    rig.events();
    rig.frame(json!([[], "before the welcome"]));
    rig.frame(json!([[welcome(json!({}))]]));
    rig.add();
    rig.core.received(rig.now, Frame::Text("{".to_owned()));
    rig.frame(json!({}));
    rig.frame(json!([]));
    // The other controls of the frame count.
    rig.frame(json!([[{ "ack": "x" }, { "ack": 1 }, { "unknown": 1 }], "m"]));
    rig.core.received(rig.now, Frame::Binary(vec![1]));
    rig.core.received(rig.now, Frame::Text("pong".to_owned()));
    rig.frame(json!([[{ "error": { "code": "handler", "message": "no" } }]]));
    let wrong = "undecodable decode";
    assert_eq!(
        rig.events(),
        [wrong, "open false false", wrong, wrong, wrong, wrong, "\"m\"", "bytes [1]", "error handler"]
    );
    assert_eq!(rig.ended(), ok([1]));
}

#[test]
fn a_connection_without_a_sign_of_life_is_dead_after_35_seconds() {
    let mut rig = Rig::new();
    rig.tick_to(25);
    assert_eq!(rig.out(), ["ping"]);
    rig.tick_to(34);
    rig.core.received(rig.now, Frame::Text("pong".to_owned()));
    rig.tick_to(59);
    assert_eq!(rig.out(), ["ping"]);
    assert!(matches!(rig.status(), Status::Open { .. }));
    rig.tick_to(60);
    assert_eq!(rig.core.command, Some(Command::Abandon));
    let Status::Reconnecting { attempt: 0, reason, .. } = rig.status() else { panic!("{:?}", rig.status()) };
    assert_eq!(reason.error.as_ref().map(|error| error.kind()), Some(ErrorKind::Timeout));
}

#[test]
fn a_short_timeout_of_the_room_makes_heartbeats_more_frequent() {
    let rig = Rig::open(config(), welcome(json!({ "timeout_ms": 10_000 })));
    assert_eq!(rig.core.beats, Some(Duration::from_secs(3)));
    let rig = Rig::open(config(), welcome(json!({ "timeout_ms": 0 })));
    assert!(rig.core.beats > Some(Duration::ZERO));
}

#[test]
fn what_has_no_outcome_between_two_heartbeats_is_sent_again() {
    let mut rig = Rig::new();
    rig.add();
    rig.out();
    rig.tick_to(25);
    assert_eq!(rig.out(), ["ping"]);
    rig.core.received(rig.now, Frame::Text("pong".to_owned()));
    rig.tick_to(50);
    assert_eq!(rig.out(), ["ping", "[1,\"e\"]"]);
}

#[test]
fn final_closes_are_final_and_others_are_not() {
    let ends = |code: u16, reason: &str| {
        let mut rig = Rig::new();
        let id = rig.add();
        rig.core.disconnected(rig.now, Close::new(code, reason));
        let is_closed = matches!(rig.status(), Status::Closed(_));
        assert_eq!(rig.ended(), if is_closed { vec![(id, "closed".to_owned())] } else { vec![] });
        is_closed
    };
    for code in [1000, 1003, 1007, 1008, 1009, 3000, 3007, 3009, 4000, 4999] {
        assert!(ends(code, ""), "{code}");
    }
    assert!(ends(1012, "replaced by a new connection"));
    for code in [1001, 1002, 1005, 1006, 1011, 1012, 1013, 2999, 3008, 5000] {
        assert!(!ends(code, ""), "{code}");
    }
}

#[test]
fn the_back_off_doubles_up_to_its_bound_and_begins_anew_after_a_stable_connection() {
    let reconnect = Reconnect { base: Duration::from_secs(1), max: Duration::from_secs(8), max_attempts: None };
    let mut rig = Rig::with(Config { reconnect, ..config() });
    let mut bounds = Vec::new();
    for attempt in 1..=6 {
        rig.core.not_opened(rig.now, ConnectError::network("no"));
        let Status::Reconnecting { attempt: counted, delay, .. } = rig.status() else { panic!("{:?}", rig.status()) };
        assert_eq!(*counted, attempt);
        bounds.push(*delay);
        rig.now = rig.core.deadline().expect("it waits");
        rig.core.tick(rig.now);
    }
    for (delay, bound) in bounds.iter().zip([1, 2, 4, 8, 8, 8]) {
        assert!(*delay <= Duration::from_secs(bound), "{bounds:?}");
    }
    assert_eq!(rig.core.exponent, 6);
    rig.opened();
    rig.frame(json!([[welcome(json!({}))]]));
    assert_eq!((rig.core.failures, rig.core.exponent), (0, 6));
    let now = rig.now.as_secs() + 6;
    rig.tick_to(now);
    assert_eq!(rig.core.exponent, 0);
}

#[test]
fn as_many_failed_attempts_as_allowed_are_the_end() {
    let reconnect = Reconnect { max_attempts: Some(2), ..Reconnect::default() };
    let mut rig = Rig::with(Config { reconnect, ..config() });
    let id = rig.add();
    rig.core.not_opened(rig.now, ConnectError::network("no"));
    rig.reconnect();
    // A socket without a welcome is a failed attempt.
    rig.lose();
    assert_eq!(rig.ended(), [(id, "unreachable".to_owned())]);
    let error = rig.core.closed().expect("it is closed");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[test]
fn a_refused_upgrade_is_final_unless_a_later_one_can_succeed() {
    for (status, is_final) in [
        (400, true),
        (401, true),
        (403, true),
        (404, true),
        (408, false),
        (425, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let mut rig = Rig::with(config());
        rig.core.not_opened(rig.now, ConnectError::refused(status, "no", None));
        assert_eq!(matches!(rig.status(), Status::Closed(_)), is_final, "{status}");
        let Status::Closed(Close { error: Some(error), .. }) = rig.status() else { continue };
        assert_eq!((error.kind(), error.status()), (ErrorKind::UpgradeRefused, Some(status)));
    }
    let mut rig = Rig::with(config());
    rig.core.not_opened(rig.now, ConnectError::refused(429, "", Some(Duration::from_secs(7))));
    assert!(matches!(rig.status(), Status::Reconnecting { delay, .. } if *delay >= Duration::from_secs(7)));
}

#[test]
fn attempts_and_welcomes_have_time_limits() {
    let mut rig = Rig::with(config());
    assert_eq!(rig.core.deadline(), Some(Duration::from_secs(10)));
    rig.core.tick(Duration::from_secs(10));
    assert_eq!(rig.core.command, Some(Command::Abandon));
    rig.reconnect();
    assert_eq!(rig.core.deadline(), Some(rig.now + Duration::from_secs(30)));
}

#[test]
fn another_subprotocol_is_the_end() {
    for protocol in [None, Some("room.json"), Some("room.v1.msgpack")] {
        let mut rig = Rig::with(config());
        rig.core.opened(rig.now, protocol);
        assert_eq!(rig.core.closed().map(|error| error.kind()), Some(ErrorKind::Protocol));
        assert!(matches!(rig.core.command, Some(Command::Close(..))));
    }
}

#[test]
fn the_queue_is_bounded_and_what_was_sent_does_not_count() {
    let queue = Queue { max: 2, overflow: Overflow::Reject };
    let mut rig = Rig::open(Config { queue, ..config() }, welcome(json!({ "window": 1 })));
    for _ in 0..3 {
        rig.add();
    }
    assert!(!rig.core.outbox.has_room());
    rig.add();
    assert_eq!(rig.ended(), [(4, "queue_full".to_owned())]);
    rig.frame(json!([[{ "ack": 1 }]]));
    assert!(rig.core.outbox.has_room());

    let queue = Queue { max: 1, overflow: Overflow::DropOldest };
    let mut rig = Rig::with(Config { queue, ..config() });
    rig.add();
    rig.add();
    assert_eq!(rig.ended(), [(1, "queue_dropped".to_owned())]);

    // Without a queue, an event is sent now or fails.
    let queue = Queue { max: 0, overflow: Overflow::Reject };
    let mut rig = Rig::open(Config { queue, ..config() }, welcome(json!({ "window": 1 })));
    assert!(rig.core.outbox.has_room());
    rig.add();
    rig.add();
    assert_eq!(rig.ended(), [(2, "queue_full".to_owned())]);
}

#[test]
fn frames_without_a_number_are_sent_now_or_never() {
    let frame = || Frame::Text("[0,\"e\"]".to_owned());
    let mut rig = Rig::with(config());
    assert_eq!(rig.core.send_now(frame()).map_err(|error| error.kind()), Err(ErrorKind::NotOpen));
    let queue = Queue { max: 2, overflow: Overflow::DropOldest };
    let mut rig = Rig::open(Config { queue, ..config() }, welcome(json!({})));
    assert!(rig.core.send_now(frame()).is_ok());
    assert!(rig.core.send_now(frame()).is_ok());
    assert_eq!(rig.core.send_now(frame()).map_err(|error| error.kind()), Err(ErrorKind::QueueFull));
    rig.lose();
    assert_eq!(rig.out(), [""; 0]);
    rig.core.close(Close::new(1000, ""));
    assert_eq!(rig.core.send_now(frame()).map_err(|error| error.kind()), Err(ErrorKind::Closed));
}

#[test]
fn a_nudge_connects_now_or_asks_for_a_sign_of_life() {
    let mut rig = Rig::new();
    rig.core.nudge(rig.now);
    assert_eq!(rig.out(), ["ping"]);
    rig.lose();
    rig.core.nudge(rig.now);
    assert!(matches!(rig.core.command, Some(Command::Connect(_))));
}

#[test]
fn a_close_fails_everything_and_lets_out_what_was_sent() {
    let mut rig = Rig::new();
    rig.add();
    rig.call();
    rig.core.close(Close::new(3001, "bye"));
    assert_eq!(rig.out().len(), 2);
    assert_eq!(rig.core.command, Some(Command::Close(3001, "bye".to_owned())));
    assert_eq!(rig.ended(), [1, 2].map(|id| (id, "closed".to_owned())));
    let late = rig.add();
    assert_eq!(rig.ended(), [(late, "closed".to_owned())]);
    rig.core.close(Close::new(1000, "again"));
    assert_eq!(rig.events().last().map(String::as_str), Some("closed 3001"));
    assert_eq!(rig.core.deadline(), None);
}

#[test]
fn numbers_that_another_owner_of_the_session_has_settled_are_skipped_at_once() {
    let mut rig = Rig::new();
    rig.frame(json!([[welcome(json!({ "resumed": true, "last": 10, "window": u64::MAX }))]]));
    rig.add();
    assert_eq!(rig.out(), [""; 0]);
    // The room's `ack` of them follows its welcome.
    rig.frame(json!([[{ "ack": 10 }]]));
    assert_eq!(rig.out(), [r#"[11,"e"]"#]);
}

#[test]
fn large_integers_are_exact() {
    let mut rig = Rig::new();
    rig.call();
    rig.frame(json!([[{ "answer": { "n": 1, "value": u64::MAX } }], { "n": u64::MAX }]));
    let Some((_, Outcome::Answered(answer))) = rig.core.outbox.ended.pop() else { panic!("it is answered") };
    assert_eq!(wire::decode::<u64>(&answer.outcome.expect("a value")).ok(), Some(u64::MAX));
    let Some(Event::Message(message)) = rig.core.events.pop() else { panic!("a message") };
    assert_eq!(wire::decode::<std::collections::BTreeMap<String, u64>>(&message).expect("decodes")["n"], u64::MAX);
}

#[cfg(feature = "msgpack")]
#[test]
fn bytes_are_bytes_in_messagepack() {
    #[derive(serde::Serialize)]
    struct Blob {
        data: Vec<u8>,
    }

    let Ok(Frame::Binary(bytes)) = Codec::MessagePack.encode(&Blob { data: vec![1, 2] }) else { panic!("it encodes") };
    assert_eq!(bytes, b"\x81\xa4data\xc4\x02\x01\x02");
    assert_eq!(
        wire::decode::<std::collections::BTreeMap<String, Vec<u8>>>(&Frame::Binary(bytes)).expect("decodes")["data"],
        [1, 2]
    );
    let call = |args: &Value| Codec::MessagePack.encode_call("f", args).map_err(|error| error.kind());
    assert_eq!(call(&Value::Null), Ok(Frame::Binary(b"\xa1f\x80".to_vec())));
    assert_eq!(call(&json!([1])), Err(ErrorKind::Encode));
}
