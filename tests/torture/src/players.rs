//! Those who use the rooms meanwhile. Each remembers what was acknowledged.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hyper::StatusCode;
use room_client::{Builder, CallError, Client, Codec, Error, ErrorKind, Incoming, Messages, Reconnect, Status};
use serde_json::json;
use test_client::{Client as Peer, Frame};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use torture_rooms::{
    Crash,
    vault_room::vault::{Broadcast, Event},
};

use crate::{
    host::lock,
    worker::{PATIENCE, open, post},
};

/// The events and calls of a client that are on their way at once.
const WINDOW: usize = 4;

/// The wait before a connection or a request is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// The phase of a run, for all players.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Play,
    /// Nobody sends anything, so that the rooms hibernate.
    Rest,
    Stop,
}

/// The state that all players share.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// `127.0.0.1:41234`
    pub(crate) address: String,
    pub(crate) phase: watch::Receiver<Phase>,
    /// The acknowledgements that each player got.
    pub(crate) progress: watch::Sender<Vec<u64>>,
    /// The next schedule of a client crashes its room like this.
    pub(crate) alarm_crash: Arc<Mutex<Option<Crash>>>,
}

impl Stage {
    /// Waits while the players rest. Returns whether to play on.
    async fn plays(&self) -> bool {
        let mut phase = self.phase.clone();
        phase.wait_for(|phase| *phase != Phase::Rest).await.is_ok_and(|phase| *phase == Phase::Play)
    }

    fn progress(&self, player: usize) {
        self.progress.send_modify(|progress| progress[player] += 1);
    }
}

/// The end of an event or a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was acknowledged; a call with this number as its answer.
    Done(Option<u64>),
    /// It was lost in a crash: it may have had an effect or not.
    Unknown,
    /// The room reported a failure with this code.
    Failed(String),
}

/// An event or a call of a client.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Add { n: u64 },
    Call { n: u64 },
    Forward { n: u64 },
    Overfill,
    Plan { id: String },
    Cancel,
}

/// Everything that a client did and heard.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) room: &'static str,
    pub(crate) who: String,
    pub(crate) acts: Vec<(Act, Outcome)>,
    pub(crate) heard: Vec<(u64, String, u64)>,
    pub(crate) begun: u32,
    pub(crate) resumed: u32,
    pub(crate) gaps: u32,
}

type Acting = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A client of `room.v1` that adds, calls, plans and passes on.
pub(crate) async fn client(
    stage: Stage,
    player: usize,
    room: &'static str,
    codec: Codec,
    mut random: fastrand::Rng,
    last: watch::Receiver<Option<u64>>,
) -> Result<Story> {
    let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(400));
    let url = format!("ws://{}/vault/{room}/ws", stage.address);
    let (connection, messages) = Builder::new(url).codec(codec).reconnect(reconnect).connect::<Event, Broadcast>();
    let who = format!("client-{player}");
    let mut story = Story { room, who: who.clone(), ..Story::default() };
    let listening = tokio::spawn(listen(messages, last));

    let mut waiting: VecDeque<(Act, Acting)> = VecDeque::new();
    let mut n = 0;
    loop {
        let plays = stage.plays().await;
        if plays && waiting.len() < WINDOW {
            n += 1;
            sleep(Duration::from_millis(random.u64(0..20))).await;
            waiting.push_back(act(&connection, &who, n, &mut random, &stage.alarm_crash));
            continue;
        }
        let Some((act, acting)) = waiting.pop_front() else { break };
        let outcome = timeout(PATIENCE, acting).await.with_context(|| format!("{act:?} of {who} hangs"))?;
        stage.progress(player);
        story.acts.push((act, outcome));
    }
    let heard = timeout(PATIENCE * 2, listening).await.with_context(|| format!("{who} misses messages"))???;
    connection.close(1000, "")?;
    Ok(Story { heard: heard.messages, begun: heard.begun, resumed: heard.resumed, gaps: heard.gaps, ..story })
}

fn act(
    connection: &Client<Event>,
    who: &str,
    n: u64,
    random: &mut fastrand::Rng,
    alarm_crash: &Mutex<Option<Crash>>,
) -> (Act, Acting) {
    let who = who.to_owned();
    let sent = |event: Event| -> Acting {
        let sending = connection.send(&event);
        Box::pin(async move { sending.await.map_or_else(failed, |()| Outcome::Done(None)) })
    };
    let called = |name: &str, arguments: serde_json::Value| -> Acting {
        let calling = connection.call::<serde_json::Value, String>(name, &arguments);
        Box::pin(async move {
            match calling.await {
                Ok(value) => Outcome::Done(value.as_u64().or(value.as_bool().map(u64::from))),
                Err(CallError::Failed(error)) => failed(error),
                Err(CallError::Returned(error)) => Outcome::Failed(error),
            }
        })
    };
    match random.u8(0..20) {
        0..8 => (Act::Add { n }, sent(Event::Add { who, n })),
        8..12 => (Act::Call { n }, called("add", json!({ "who": who, "n": n }))),
        12..15 => (Act::Forward { n }, sent(Event::Forward { who, n })),
        15 => (Act::Overfill, sent(Event::Overfill { who, n })),
        16..18 => {
            let id = format!("{who}~{n}");
            let crash = lock(alarm_crash).take();
            let arguments = json!({ "id": id, "after_ms": random.u64(0..3_000), "crash": crash });
            (Act::Plan { id }, called("plan", arguments))
        }
        18 => {
            let key = format!("{who}-{}", random.u8(0..3));
            let id = format!("{key}#{n}");
            let arguments = json!({ "id": id, "after_ms": random.u64(0..3_000), "key": key });
            (Act::Plan { id }, called("plan", arguments))
        }
        _ => {
            let key = format!("{who}-{}", random.u8(0..3));
            (Act::Cancel, called("cancel", json!({ "key": key })))
        }
    }
}

fn failed(error: Error) -> Outcome {
    match (error.kind(), error.code()) {
        (ErrorKind::Room, "restarted") => Outcome::Unknown,
        (ErrorKind::Room, code) => Outcome::Failed(code.to_owned()),
        (kind, _) => Outcome::Failed(format!("{kind:?}")),
    }
}

#[derive(Debug, Default)]
struct Heard {
    messages: Vec<(u64, String, u64)>,
    begun: u32,
    resumed: u32,
    gaps: u32,
}

/// Listens until the last message that the room has to send.
async fn listen(mut messages: Messages<Broadcast>, mut last: watch::Receiver<Option<u64>>) -> Result<Heard> {
    let mut heard = Heard::default();
    loop {
        let is_complete =
            |last: &Option<u64>| last.is_some_and(|last| heard.messages.last().map_or(0, |(seq, ..)| *seq) >= last);
        let item = tokio::select! {
            item = messages.next() => item.context("the connection ended")?,
            complete = last.wait_for(is_complete) => {
                complete?;
                return Ok(heard);
            }
        };
        match item {
            Incoming::Message(Broadcast::Added { seq, who, n }) => heard.messages.push((seq, who, n)),
            Incoming::Status(Status::Open { resumed: true, gap, .. }) => {
                heard.resumed += 1;
                heard.gaps += u32::from(gap);
            }
            Incoming::Status(Status::Open { gap, .. }) => {
                heard.begun += 1;
                heard.gaps += u32::from(gap);
            }
            Incoming::Gap { .. } | Incoming::Lagged { .. } => heard.gaps += 1,
            Incoming::Undecodable(undecodable) => bail!("{undecodable:?}"),
            _ => {}
        }
    }
}

/// The events that a Worker sent: with a key each is repeated until it succeeds, without one it is sent once.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) room: &'static str,
    pub(crate) who: String,
    pub(crate) is_keyed: bool,
    /// The number of all.
    pub(crate) count: u64,
    /// The numbers of those that were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
}

/// A Worker that sends events.
pub(crate) async fn worker(stage: Stage, player: usize, room: &'static str, is_keyed: bool) -> Result<Sent> {
    let who = format!("worker-{player}");
    let mut sent = Sent { room, who: who.clone(), is_keyed, ..Sent::default() };
    while stage.plays().await {
        sent.count += 1;
        let n = sent.count;
        let key = if is_keyed { format!("?key={who}-{n}") } else { String::new() };
        let uri = format!("http://{}/vault/{room}/send{key}", stage.address);
        for attempt in 1.. {
            match post(&uri, &Event::Add { who: who.clone(), n }).await? {
                Some(StatusCode::OK) => {
                    sent.acknowledged.push(n);
                    stage.progress(player);
                    break;
                }
                status if is_keyed && attempt == 1_000 => bail!("{uri} fails again and again: {status:?}"),
                _ if is_keyed => sleep(AGAIN).await,
                _ => break,
            }
        }
        sleep(AGAIN).await;
    }
    Ok(sent)
}

/// The way in which a visitor of the porch left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// By a close frame, which was answered.
    Closed,
    /// By a lost connection.
    Lost,
}

/// A peer of the porch.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) id: String,
    /// The room answered the peer, so it had connected.
    pub(crate) is_greeted: bool,
    pub(crate) left: Left,
    /// The handler that the peer made crash, and whether that handler waited before.
    pub(crate) crash: Option<(&'static str, bool)>,
}

/// Says hello, and waits for the answer. Returns the resume token; `None` if the peer is not connected.
pub(crate) async fn greet(client: &Peer) -> Result<Option<String>> {
    let _ = client.send_text(r#"{"type":"Hello"}"#).await;
    let mut token = String::new();
    loop {
        match timeout(PATIENCE, client.receive()).await.context("the greeting hangs")? {
            Ok(Frame::Text(text)) => {
                let value: serde_json::Value = serde_json::from_str(&text)?;
                match (value["type"].as_str(), value["$room"]["resume"].as_str()) {
                    (Some("Hello"), _) => return Ok(Some(token)),
                    (_, Some(resume)) => resume.clone_into(&mut token),
                    // The frame was lost in a crash.
                    _ => return Ok(None),
                }
            }
            Ok(Frame::Binary(_)) => bail!("a binary frame"),
            Err(_) => return Ok(None),
        }
    }
}

/// Peers that come and leave or vanish, one after the other.
pub(crate) async fn visitor(stage: Stage, player: usize, mut random: fastrand::Rng) -> Result<Vec<Visit>> {
    let mut visits = Vec::new();
    while stage.plays().await {
        let id = format!("visitor-{player}-{}", visits.len());
        let uri = format!("ws://{}/porch/hall/ws?id={id}", stage.address);
        let mut visit = Visit { id, is_greeted: false, left: Left::Lost, crash: None };
        let Some(client) = open(&uri).await? else {
            // The room may have let it in all the same.
            visits.push(visit);
            sleep(AGAIN).await;
            continue;
        };
        visit.is_greeted = greet(&client).await.with_context(|| visit.id.clone())?.is_some();
        if visit.is_greeted {
            stage.progress(player);
            sleep(Duration::from_millis(random.u64(0..200))).await;
            if random.bool() {
                let _ = client.close(1000, "").await;
                let closing = timeout(PATIENCE, client.receive());
                let closed = closing.await.with_context(|| format!("the close of {} hangs", visit.id))?;
                if closed.is_err_and(|closed| closed.code == 1000) {
                    visit.left = Left::Closed;
                }
            }
        }
        visits.push(visit);
    }
    Ok(visits)
}
