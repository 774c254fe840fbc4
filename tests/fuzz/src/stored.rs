//! Everything that a room reads back from storage. A value that cannot be read is a typed error or has the recovery that
//! docs/rules.md names; it never ends a room, and a purge always begins a new life.

use std::time::Duration;

use http::{HeaderValue, Request, header::SEC_WEBSOCKET_PROTOCOL};
use room_runtime::{
    __private::fuzz,
    Upgrade,
    testing::{TestPeer, TestRoom, World},
};
use serde_json::Value;

/// A room that stores a value of each kind that a room can store.
#[room_runtime::room(
    state_version = 3,
    reconnect_grace = "1m",
    replay(messages = 6, age = "10m", bytes = 4096),
    rate_limit(burst = 4000, per_second = 1),
    outbox_timeout = "1h",
    purge_after = "10m",
    session_timeout = "1h",
    max_sessions = 4,
    peer_timeout = "1d",
    codec = "json, msgpack"
)]
mod vault {
    use std::time::Duration;

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub sum: i64,
        pub notes: Vec<String>,
    }

    pub struct Connection {
        pub name: String,
    }

    pub enum Event {
        /// Uses no stored value.
        Ping,
        Add {
            amount: i64,
        },
        Refuse,
        Later {
            note: String,
        },
        Tell {
            room: String,
        },
        Purge,
    }

    pub enum Broadcast {
        Pong,
        Sum { sum: i64 },
    }

    pub struct Alarm {
        pub note: String,
    }

    pub fn migrate(_version: u32, stored: serde_json::Value) -> Result<State> {
        Ok(serde_json::from_value(stored)?)
    }

    pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
        peer.subscribe("news")?;
        Ok(())
    }

    pub fn on_join(_ctx: &Ctx, _user: &PeerId) -> Result {
        Ok(())
    }

    pub fn on_leave(_ctx: &Ctx, _user: &PeerId) -> Result {
        Ok(())
    }

    pub fn on_away(_ctx: &Ctx, _peer: &Peer) -> Result {
        Ok(())
    }

    pub fn on_resume(_ctx: &Ctx, peer: &Peer) -> Result {
        peer.subscribe("more")?;
        Ok(())
    }

    pub fn on_close(_ctx: &Ctx, _peer: &Peer, _close: Close) -> Result {
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Ping => {
                if let Some(peer) = ctx.sender() {
                    peer.send(&Broadcast::Pong)?;
                }
            }
            Event::Add { amount } => {
                let sum = ctx.update(|state| {
                    state.sum = state.sum.wrapping_add(amount);
                    state.sum
                })?;
                ctx.topic("news").send(&Broadcast::Sum { sum })?;
            }
            Event::Refuse => return Err(ctx.refuse("no")),
            Event::Later { note } => {
                ctx.schedule(Alarm { note: note.clone() }).key(note).every(Duration::from_secs(40))?;
                ctx.schedule(Alarm { note: "once".to_owned() }).after(Duration::from_secs(2))?;
            }
            Event::Tell { room } => {
                ctx.room::<Room>(&room)?.send(&Event::Refuse).durably()?;
                ctx.room::<Room>(&room)?.send(&Event::Ping).durably()?;
            }
            Event::Purge => return ctx.purge(),
        }
        Ok(())
    }

    #[call]
    pub fn add(ctx: &Ctx, amount: i64) -> Result<i64> {
        ctx.update(|state| state.sum = state.sum.wrapping_add(amount))?;
        Ok(ctx.state()?.sum)
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        ctx.update(|state| state.notes = vec![alarm.note])?;
        ctx.broadcast(&Broadcast::Pong)?;
        Ok(())
    }

    pub fn on_undelivered(_ctx: &Ctx, _call: &Undelivered) -> Result {
        Ok(())
    }
}

use vault::{Connection, Event, Room};

const SOURCE: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// The room with a life behind it, and its peers.
struct Life {
    room: TestRoom<Room>,
    ann: TestPeer<Room>,
    bob: TestPeer<Room>,
    eve: TestPeer<Room>,
    /// The tokens of the three, before any frame can be unreadable.
    tokens: [String; 3],
}

fn offering(protocols: &str) -> Request<()> {
    let mut request = Request::default();
    // The text is one of ours.
    if let Ok(protocols) = HeaderValue::from_str(protocols) {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    request
}

fn upgrade(id: &str) -> Upgrade<Connection> {
    Upgrade::new(Connection { name: id.to_owned() }).id(id).tags(["all", id])
}

impl Life {
    /// Lives until storage has a value of each kind.
    fn new() -> Life {
        let world = World::new();
        let room = world.room::<Room>("vault");
        let far = world.room::<Room>("far");
        far.fail_calls(true);
        let connect =
            |id: &str, protocols: &str| room.try_connect_with(offering(protocols), upgrade(id)).expect("a peer");
        let (ann, bob, eve) =
            (connect("ann", "room.v1"), connect("bob", "room.json"), connect("eve", "room.v1.msgpack"));
        for frame in [
            r#"[1,{"type":"Add","amount":2}]"#,
            r#"[2,{"type":"Refuse"}]"#,
            r#"[3,"add",{"amount":5}]"#,
            r#"[4,{"type":"Later","note":"tick"}]"#,
            r#"[5,{"type":"Tell","room":"far"}]"#,
        ] {
            ann.send_raw(frame);
        }
        eve.send_binary(b"\x92\x01\x82\xa4type\xa3Add\xa6amount\x01".to_vec());
        bob.send_raw(r#"{"type":"Add","amount":1}"#);
        fuzz::call(&room, r#"once 1 k send {"type":"Add","amount":1}"#);
        fuzz::call(&room, &format!(r#"durable {SOURCE} 1 {{"type":"Refuse"}}"#));
        bob.disconnect();
        let leaver = connect("leaver", "room.json");
        // Its end is stored and not handled, because the room goes down before.
        world.together(|| {
            leaver.close();
            room.crash();
        });
        let tokens = [&ann, &bob, &eve].map(|peer| peer.resume_token().unwrap_or_default());
        Life { room, ann, bob, eve, tokens }
    }

    /// Replaces what `key` names: a stored value, or the attachment of a peer.
    fn replace(&self, key: &str, value: &[u8]) {
        match key.strip_prefix("attachment:") {
            Some("ann") => fuzz::attach(&self.ann, value),
            Some("eve") => fuzz::attach(&self.eve, value),
            Some(_) => {}
            None => fuzz::store(&self.room, key, value),
        }
    }
}

/// Returns what a room of the target [`stored`] has in storage, by key: with a byte in front, each is an input.
pub fn records() -> Vec<(String, Vec<u8>)> {
    let life = Life::new();
    let mut records = fuzz::storage(&life.room);
    for (name, peer) in [("ann", &life.ann), ("eve", &life.eve)] {
        records.extend(fuzz::attachment(peer).map(|bytes| (format!("attachment:{name}"), bytes)));
    }
    records
}

/// Returns whether a record would make the room fire an alarm so often that a test cannot wait for it.
fn is_busy(value: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(value).unwrap_or_default();
    value["every_ms"].as_u64().is_some_and(|every_ms| (1..10_000).contains(&every_ms))
}

/// A byte that says how the room leaves memory, and then lines of a key, a space and a value.
pub fn stored(data: &[u8]) {
    let Some((mode, records)) = data.split_first() else { return };
    let Life { room, ann, bob, eve, tokens } = &{
        let life = Life::new();
        for record in records.split(|byte| *byte == b'\n') {
            let mut parts = record.splitn(2, |byte| *byte == b' ');
            let (Some(Ok(key)), Some(value)) = (parts.next().map(std::str::from_utf8), parts.next()) else { continue };
            if !key.is_empty() && !is_busy(value) {
                life.replace(key, value);
            }
        }
        life
    };
    match mode % 4 {
        0 => room.restart(),
        1 => room.hibernate(),
        // Nothing is noticed before it is read again.
        2 => {}
        _ => room.crash(),
    }

    // Every way to the values.
    let answers = [
        "state",
        "peers",
        "tagged all",
        "stats",
        r#"broadcast {"type":"Pong"}"#,
        r#"send {"type":"Add","amount":1}"#,
        r#"once 1 k send {"type":"Add","amount":1}"#,
        r#"once 1 k send {"type":"Ping"}"#,
        r#"once 1 l send {"type":"Later","note":"tick"}"#,
        r#"call add {"amount":1}"#,
        "fire_alarm",
    ]
    .map(|command| fuzz::call(room, command).expect("the room answers"));
    for number in [1, 2, u64::MAX] {
        let command = format!(r#"durable {SOURCE} {number} {{"type":"Add","amount":1}}"#);
        fuzz::call(room, &command).expect("the room answers");
    }
    for answer in answers {
        if let Err(error) = fuzz::decode_reply(&answer) {
            assert_ne!(error.message(), "", "{answer}");
        }
    }
    for frame in [
        r#"[2,{"type":"Refuse"}]"#,
        r#"[3,"add",{"amount":5}]"#,
        r#"[6,{"type":"Add","amount":2}]"#,
        r#"[7,"add",{"amount":2}]"#,
        r#"{"from":7}"#,
        r#"[8,{"type":"Tell","room":"far"}]"#,
        r#"[10,{"type":"Ping"}]"#,
        r#"[0,{"type":"Ping"}]"#,
    ] {
        ann.send_raw(frame);
    }
    eve.send_binary(b"\x92\x02\xa4Ping".to_vec());
    // Whatever was stored, what the room sends are frames: the test kit panics at any other.
    for peer in [ann, eve] {
        while peer.receive_any().is_some() {}
    }
    eve.close();
    let [ann_token, bob_token, eve_token] = tokens;
    let again = [
        (ann, upgrade("ann"), format!("room.v1, room.v1.resume.{ann_token}.3.4")),
        (bob, upgrade("bob").resume(&**bob_token), "room.json".to_owned()),
        (eve, upgrade("eve"), format!("room.v1.msgpack, room.v1.resume.{eve_token}.1.2")),
    ]
    .map(|(before, upgrade, protocols)| {
        before.disconnect();
        room.try_connect_with(offering(&protocols), upgrade)
    });
    for peer in again.iter().flatten() {
        while peer.receive_any().is_some() {}
        peer.send_raw(r#"[1,{"type":"Add","amount":1}]"#);
        peer.send_raw(r#"{"type":"Add","amount":1}"#);
    }
    room.advance(Duration::from_secs(3));
    drop(again.map(|peer| peer.map(|peer| peer.disconnect())));
    room.restart();
    room.advance(Duration::from_secs(61));

    // An honest peer that uses none of it.
    let log = |room: &TestRoom<Room>| {
        let log = room.take_log();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
        log
    };
    log(room);
    let honest = room.try_connect_with(offering("room.json"), upgrade("honest"));
    if let Ok(honest) = &honest
        && honest.is_open()
    {
        while honest.receive_any().is_some() {}
        honest.send(&Event::Ping);
        let answer = honest.receive_raw().expect("an echo or an error");
        assert!(answer == r#"{"type":"Pong"}"# || answer.contains("$room"), "{answer}");
    }

    // A purge needs none of it either, and the next life has none of it.
    let answer = fuzz::call(room, r#"send {"type":"Purge"}"#).expect("the room answers");
    if let Err(error) = fuzz::decode_reply(&answer) {
        // A room that cannot start refuses all events.
        assert!(!error.message().is_empty(), "{answer}");
        return;
    }
    log(room);
    let fresh = room.connect(upgrade("fresh"));
    fresh.send_raw(r#"[1,{"type":"Add","amount":40}]"#);
    fresh.send_raw(r#"[2,"add",{"amount":2}]"#);
    assert_eq!(room.state().expect("a new life").map(|state| state.sum), Some(42));
    assert_eq!(log(room), Vec::<String>::new());
}
