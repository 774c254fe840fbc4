//! A whole room with two hostile peers and an honest one. Whatever the two send and do, the honest peer gets the echo of each of its
//! events, once and in order, and nothing but an event changes the state.

use std::{cell::Cell, time::Duration};

use http::{HeaderValue, Request, header::SEC_WEBSOCKET_PROTOCOL};
use room_runtime::{
    __private::fuzz,
    CloseCode, Room, Upgrade,
    testing::{Refusal, TestFrame, TestPeer, TestRoom, World},
};

use crate::input::Input;

/// The most steps of a script, because each costs an event of the honest peer.
const STEPS: usize = 40;

macro_rules! hall {
    ($(#[$doc:meta])* $name:ident($($options:tt)*) $($more:item)*) => {
        $(#[$doc])*
        #[room_runtime::room($($options)*)]
        mod $name {
            use std::time::Duration;

            use room_runtime::prelude::*;

            #[derive(Default)]
            pub struct State {
                /// The numbers that the honest peer has said.
                pub said: Vec<u64>,
                /// The events `Count` that others have sent.
                pub count: u64,
                pub binary: u64,
            }

            pub struct Connection {}

            pub enum Event {
                Say { n: u64 },
                Count,
                Wait { ms: u16, text: String },
                Refuse { text: String },
                Fail { text: String },
                Tell { to: String, text: String },
                Topic { name: String, leaves: bool },
                Later { ms: u16, key: Option<String> },
                Leave { code: u16 },
            }

            pub enum Broadcast {
                Said { from: String, n: u64 },
                Told { text: String },
            }

            pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
                ctx.peers().except(peer).send(&Broadcast::Told { text: format!("{} is here", peer.id()) })?;
                Ok(())
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                let peer = ctx.sender().ok_or_else(|| Failure::msg("no peer"))?;
                let from = peer.id().to_string();
                match event {
                    Event::Say { n } => {
                        if from == "honest" {
                            ctx.update(|state| state.said.push(n))?;
                        }
                        ctx.broadcast(&Broadcast::Said { from, n })?;
                    }
                    Event::Count => ctx.update(|state| state.count += 1)?,
                    Event::Wait { ms, text } => {
                        ctx.sleep(Duration::from_millis(ms.into())).await;
                        ctx.topic("news").send(&Broadcast::Told { text })?;
                    }
                    Event::Refuse { text } => return Err(ctx.refuse_with(&Broadcast::Told { text })),
                    Event::Fail { text } => return Err(Failure::msg(text)),
                    Event::Tell { to, text } => drop(ctx.peers().with_id(&to).send(&Broadcast::Told { text })?),
                    Event::Topic { name, leaves: false } => drop(peer.subscribe(&name)?),
                    Event::Topic { name, leaves: true } => drop(peer.unsubscribe(&name)?),
                    Event::Later { ms, key } => {
                        let alarm = ctx.schedule(());
                        let alarm = match key {
                            Some(key) => alarm.key(key),
                            None => alarm,
                        };
                        alarm.after(Duration::from_millis(ms.into()))?;
                    }
                    Event::Leave { code } => {
                        if from != "honest" {
                            peer.close(CloseCode::new(code)?, "bye")?;
                        }
                    }
                }
                Ok(())
            }

            pub fn on_alarm(ctx: &Ctx) -> Result {
                ctx.broadcast(&Broadcast::Told { text: "an alarm".to_owned() })?;
                Ok(())
            }

            pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
                ctx.broadcast(&Broadcast::Told { text: format!("{} left with {}", peer.id(), close.code) })?;
                Ok(())
            }

            $($more)*
        }
    };
}

hall! {
    /// A room without options.
    plain()
    pub fn on_binary(ctx: &Ctx, bytes: Bytes) -> Result {
        ctx.update(|state| state.binary += bytes.len() as u64)?;
        Ok(())
    }
}
hall! {
    /// A room with all that a client of `room.v1` can use.
    full(reconnect_grace = "1m", replay(messages = 6, age = "1m", bytes = 2048), codec = "json, msgpack", max_sessions = 3)
    #[call]
    pub async fn tell(ctx: &Ctx, text: String, ms: Option<u16>) -> Result<String> {
        ctx.sleep(Duration::from_millis(ms.unwrap_or(0).into())).await;
        ctx.broadcast(&Broadcast::Told { text: text.clone() })?;
        Ok(text)
    }
    pub fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.broadcast(&Broadcast::Told { text: format!("{} is away", peer.id()) })?;
        Ok(())
    }
    pub fn on_resume(_ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Told { text: "again".to_owned() })?;
        Ok(())
    }
    pub fn on_join(_ctx: &Ctx, _user: &PeerId) -> Result {
        Ok(())
    }
    pub fn on_leave(_ctx: &Ctx, _user: &PeerId) -> Result {
        Ok(())
    }
}

/// The parts of each room that the script needs.
trait Hall: Room {
    fn connection() -> Self::Connection;
    /// The number that a message says, if it is an echo of the honest peer.
    fn echo(message: &Self::Broadcast) -> Option<u64>;
    /// The numbers that were said, the count, and the bytes.
    fn parts(state: Self::State) -> (Vec<u64>, u64, u64);
}

macro_rules! is_hall {
    ($name:ident) => {
        impl Hall for $name::Room {
            fn connection() -> Self::Connection {
                $name::Connection {}
            }

            fn echo(message: &Self::Broadcast) -> Option<u64> {
                match message {
                    $name::Broadcast::Said { from, n } if from == "honest" => Some(*n),
                    _ => None,
                }
            }

            fn parts(state: Self::State) -> (Vec<u64>, u64, u64) {
                (state.said, state.count, state.binary)
            }
        }
    };
}

is_hall!(plain);
is_hall!(full);

const PROTOCOLS: [&str; 5] = ["room.json", "room.v1", "", "room.v1.msgpack", "room.msgpack"];

/// A byte of options, and then a script.
pub fn room(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte().unwrap_or(0);
    match options & 1 {
        0 => Script::<plain::Room>::run(options, input),
        _ => Script::<full::Room>::run(options, input),
    }
}

struct Script<R: Room> {
    world: World,
    room: TestRoom<R>,
    honest: TestPeer<R>,
    is_v1: bool,
    hostile: [Option<TestPeer<R>>; 2],
    said: u64,
    heard: u64,
    /// The most that the frames of the hostile peers can have counted: each of them can wait for its turn.
    most: Cell<(u64, u64)>,
}

impl<R: Hall> Script<R> {
    fn run(options: u8, mut input: Input<'_>) {
        let world = if options & 2 == 0 { World::new() } else { World::with_seed(options.into()) };
        let room = world.room::<R>("hall");
        let is_v1 = options & 4 != 0;
        let connect =
            |id: &str, protocol: &str| try_connect(&room, Upgrade::new(R::connection()).id(id), protocol).ok();
        let Some(honest) = connect("honest", if is_v1 { "room.v1" } else { "room.json" }) else {
            panic!("the honest peer is let in")
        };
        let protocols = usize::from(options >> 3);
        let first = connect("a", PROTOCOLS[protocols % 5]);
        let second = connect("b", PROTOCOLS[protocols / 5 % 5]);
        let mut script =
            Script { world, room, honest, is_v1, hostile: [first, second], said: 0, heard: 0, most: Cell::default() };
        script.say();
        for _ in 0..STEPS {
            let Some(action) = input.byte() else { break };
            let before = script.room.stored_state();
            script.act(action, &mut input);
            let after = script.room.stored_state();
            if after != before {
                let (counted, most) = (count(&after), script.most.get());
                assert!(counted.0 <= most.0 && counted.1 <= most.1, "{counted:?} of at most {most:?}: {after:?}");
            }
            script.say();
        }
        script.end();
    }

    /// The honest peer says a number, and hears it.
    fn say(&mut self) {
        self.said += 1;
        let event = format!(r#"{{"type":"Say","n":{}}}"#, self.said);
        let frame = if self.is_v1 { format!("[{},{event}]", self.said) } else { event };
        self.honest.send_raw(frame);
        self.listen();
        assert_eq!(self.heard, self.said, "the honest peer has no echo; it is open: {}", self.honest.is_open());
    }

    fn listen(&mut self) {
        if let Some(error) = self.honest.receive_error() {
            panic!("the honest peer gets an error: {error}");
        }
        for message in self.honest.received() {
            if let Some(number) = R::echo(&message) {
                self.heard += 1;
                assert_eq!(number, self.heard, "an echo is missing, twice, or in another order");
            }
        }
        for peer in self.hostile.iter().flatten() {
            while let Some(frame) = peer.receive_any() {
                match frame {
                    TestFrame::Text(text) if text == "pong" => {}
                    TestFrame::Text(text) => drop(serde_json::from_str::<serde_json::Value>(&text).expect("JSON")),
                    TestFrame::Binary(bytes) => {
                        drop(rmp_serde::from_slice::<serde_json::Value>(&bytes).expect("MessagePack"))
                    }
                    _ => {}
                }
            }
        }
        let log = self.room.take_log();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
    }

    fn act(&mut self, action: u8, input: &mut Input<'_>) {
        let which = usize::from(action >> 7);
        match action % 16 {
            0..=2 => self.send(which, TestFrame::Text(input.text())),
            3 | 4 => self.send(which, TestFrame::Binary(input.bytes().to_vec().into())),
            5 => {
                let frame = template(input);
                self.send(which, frame);
            }
            6 => {
                let frames = [template(input), TestFrame::Text(input.text()), template(input)];
                self.world.clone().together(|| {
                    for frame in frames {
                        self.send(which, frame);
                    }
                    if action & 64 != 0 {
                        self.room.crash();
                    }
                });
            }
            7 => {
                if let Some(peer) = &self.hostile[which] {
                    match input.byte().unwrap_or(0) % 4 {
                        0 => peer.disconnect(),
                        1 => peer.close(),
                        2 => {
                            if let Ok(code) = CloseCode::new(input.short()) {
                                peer.close_with(code, &input.text());
                            }
                        }
                        _ => peer.stop_responding(),
                    }
                }
            }
            8 => {
                self.connect(which, input);
            }
            9 => {
                if !self.room.is_busy() {
                    self.room.hibernate();
                }
            }
            10 => {
                self.room.crash();
            }
            11 => {
                self.room.restart();
                self.honest = self.honest.reconnect(R::connection());
            }
            12 | 13 => {
                self.world.advance(Duration::from_millis(u64::from(input.short()) * 4));
            }
            14 => {
                let frame = template(input);
                self.room.fail_writes(true);
                self.send(which, frame);
                self.room.fail_writes(false);
            }
            _ => match input.byte().unwrap_or(0) % 6 {
                0 => drop(self.room.peers(None).expect("the peers are readable")),
                1 => drop(self.room.stats().expect("the room counts")),
                2 => drop(self.room.fire_alarm().expect("the alarm fires")),
                3 => self.hostile[which].iter().for_each(|peer| peer.fail_sends(true)),
                4 => self.hostile[which].iter().for_each(|peer| peer.fail_sends(false)),
                _ => self.hostile[which].iter().for_each(TestPeer::heartbeat),
            },
        }
    }

    fn send(&self, which: usize, frame: TestFrame) {
        let (events, bytes) = self.most.get();
        self.most.set(match &frame {
            // JSON can also write the name of the only event that counts by escapes.
            TestFrame::Text(text) if !text.contains("Count") && !text.contains("\\u") => (events, bytes),
            TestFrame::Binary(binary) => (events + 1, bytes + binary.len() as u64),
            _ => (events + 1, bytes),
        });
        if let Some(peer) = &self.hostile[which] {
            fuzz::send(peer, frame);
        }
    }

    /// Connects a hostile peer again: with its session, with invented protocols, or with an invented token.
    fn connect(&mut self, which: usize, input: &mut Input<'_>) {
        let id = ["a", "b"][which];
        let upgrade = Upgrade::new(R::connection()).id(id);
        let session = self.hostile[which].as_ref().and_then(TestPeer::resume_token).unwrap_or_default();
        let kind = input.byte().unwrap_or(0);
        let protocol = PROTOCOLS[usize::from(kind >> 3) % 5];
        let connected = match kind % 4 {
            0 => {
                let (from, at) = (input.number(), input.number());
                try_connect(&self.room, upgrade, &format!("{protocol}, room.v1.resume.{session}.{from}.{at}"))
            }
            1 => try_connect(&self.room, upgrade.resume(session), protocol),
            2 => try_connect(&self.room, upgrade, &input.text()),
            _ => try_connect(&self.room, upgrade.resume(input.text()), protocol),
        };
        if let Ok(peer) = connected {
            self.hostile[which] = Some(peer);
        }
    }

    fn end(mut self) {
        // Everything that waits comes to its end.
        self.world.advance(Duration::from_secs(120));
        self.say();
        let state = self.room.state().expect("the state is readable").expect("something was said");
        let ((said, events, bytes), most) = (R::parts(state), self.most.get());
        assert_eq!(said, (1..=self.said).collect::<Vec<_>>(), "what the honest peer said");
        assert!(events <= most.0 && bytes <= most.1, "{events} events and {bytes} bytes of at most {most:?}");
        let peers = self.room.peers(None).expect("the peers are readable");
        assert_eq!(peers.iter().filter(|peer| peer.id.as_str() == "honest").count(), 1);
    }
}

fn try_connect<R: Hall>(
    room: &TestRoom<R>,
    upgrade: Upgrade<R::Connection>,
    protocols: &str,
) -> Result<TestPeer<R>, Refusal> {
    let mut request = Request::default();
    if let Ok(protocols) = HeaderValue::from_str(protocols)
        && !protocols.is_empty()
    {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocols);
    }
    room.try_connect_with(request, upgrade)
}

/// Reads the count and the bytes in a stored state.
fn count(state: &Option<String>) -> (u64, u64) {
    let Some(state) = state else { return (0, 0) };
    let state: serde_json::Value = serde_json::from_str(state).expect("the stored state is JSON");
    (state["count"].as_u64().expect("a count"), state["binary"].as_u64().expect("a number of bytes"))
}

/// Makes a frame of a client of `room.v1`, or a plain one, so that short inputs reach far.
fn template(input: &mut Input<'_>) -> TestFrame {
    let (kind, number) = (input.byte().unwrap_or(0), input.number());
    let text = |input: &mut Input<'_>| serde_json::Value::from(input.text()).to_string();
    let event = match kind % 10 {
        0 => format!(r#"{{"type":"Say","n":{number}}}"#),
        1 => r#"{"type":"Count"}"#.to_owned(),
        2 => format!(r#"{{"type":"Wait","ms":{},"text":{}}}"#, input.short(), text(input)),
        3 => format!(r#"{{"type":"Refuse","text":{}}}"#, text(input)),
        4 => format!(r#"{{"type":"Fail","text":{}}}"#, text(input)),
        5 => format!(r#"{{"type":"Tell","to":"honest","text":{}}}"#, text(input)),
        6 => format!(r#"{{"type":"Topic","name":{},"leaves":{}}}"#, text(input), number % 2 == 0),
        7 => format!(r#"{{"type":"Later","ms":{},"key":{}}}"#, input.short(), text(input)),
        8 => format!(r#"{{"type":"Leave","code":{}}}"#, input.short()),
        _ => return packed(&format!(r#"[{number},"tell",{{"text":{},"ms":{}}}]"#, text(input), input.short()), kind),
    };
    match kind & 32 {
        0 => packed(&event, kind),
        _ => packed(&format!("[{number},{event}]"), kind),
    }
}

fn packed(json: &str, kind: u8) -> TestFrame {
    if kind & 64 == 0 {
        return TestFrame::Text(json.to_owned());
    }
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    TestFrame::Binary(rmp_serde::to_vec(&value).unwrap_or_default().into())
}
