//! Faults on a real workerd, at random moments under load, and a model of the whole history.
//!
//! Clients, Workers and visitors use the rooms while a director kills the process, cuts connections, crashes handlers,
//! makes the storage fail and steps the clock. In the end the logs of the rooms are compared with what was acknowledged.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hyper::{Request, body::Bytes};
use room_client::Codec;
use serde::Serialize;
use test_client::Frame;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use torture_rooms::{
    Crash,
    log::Row,
    porch_room::porch,
    vault_room::vault::{Event, State},
};

use crate::{
    host::{Host, lock},
    model,
    players::{self, Left, Phase, Sent, Stage, Story, Visit},
    worker::{self, PATIENCE},
};

/// The rooms that may lose nothing.
pub(crate) const VAULTS: [&str; 2] = ["a", "b"];

const CLIENTS: usize = 3;
const VISITORS: usize = 3;

/// The players of each kind, in order: clients and Workers of each vault, then visitors.
const PLAYERS: usize = VAULTS.len() * (CLIENTS + 2) + VISITORS;

/// The acknowledgements that each player gets between two faults, so that each is connected when the next one comes.
const BETWEEN: u64 = 2;

/// The longest time until each player has made progress after a fault.
const RECOVERY: Duration = Duration::from_secs(90);

/// The idle time after which workerd hibernates an object.
const IDLE: Duration = Duration::from_secs(12);

/// The handlers that crash.
const HANDLERS: [&str; 8] =
    ["on_upgrade", "on_connect", "on_join", "on_event", "on_away", "on_resume", "on_close", "on_leave"];

/// The steps of the clock, in milliseconds from the right time. A room keeps places for ten minutes.
const STEPS: [i64; 5] = [120_000, -60_000, 240_000, -240_000, 0];

/// A fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Restart,
    Cut,
    /// Two vaults crash at the same time, while they handle events.
    Vaults(Crash, bool),
    /// A handler of the porch crashes.
    Handler(&'static str, Crash, bool),
    Request(Crash, bool),
    Alarm(Crash),
    Storage,
    Clock(i64),
    Hibernation,
    Hang,
}

impl Fault {
    fn name(self) -> String {
        let waits = |waits: bool| if waits { ", after an await" } else { "" };
        match self {
            Fault::Kill => "SIGKILL of workerd".to_owned(),
            Fault::Restart => "restart of workerd".to_owned(),
            Fault::Cut => "lost connections".to_owned(),
            Fault::Vaults(how, wait) => format!("{how:?} in two rooms at once{}", waits(wait)),
            Fault::Handler(handler, how, wait) => format!("{how:?} in {handler}{}", waits(wait)),
            Fault::Request(how, wait) => format!("{how:?} in on_request{}", waits(wait)),
            Fault::Alarm(how) => format!("{how:?} in on_alarm, after an await"),
            Fault::Storage => "failing storage".to_owned(),
            Fault::Clock(_) => "step of the clock".to_owned(),
            Fault::Hibernation => "hibernation".to_owned(),
            Fault::Hang => "handler that never ends".to_owned(),
        }
    }
}

/// The extent of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) seed: u64,
    pub(crate) kills: usize,
    /// How often each handler crashes, by the numbers of ways.
    pub(crate) crashes: usize,
    pub(crate) others: usize,
    pub(crate) hibernations: usize,
    /// Memory is exhausted too, which takes seconds.
    pub(crate) exhaust: bool,
}

impl Extent {
    pub(crate) fn short(seed: u64) -> Extent {
        Extent { seed, kills: 4, crashes: 1, others: 2, hibernations: 1, exhaust: false }
    }

    pub(crate) fn long(seed: u64) -> Extent {
        Extent { seed, kills: 120, crashes: 6, others: 25, hibernations: 5, exhaust: true }
    }

    fn faults(self, random: &mut fastrand::Rng) -> Vec<Fault> {
        let cheap =
            [Crash::Panic, Crash::Abort, Crash::Throw, Crash::ThrowFromRust, Crash::Overflow, Crash::OverflowInMemory];
        let mut faults = vec![Fault::Kill; self.kills];
        for at in 0..self.others {
            faults.extend([Fault::Restart, Fault::Cut, Fault::Storage, Fault::Clock(STEPS[at % STEPS.len()])]);
            faults.extend([true, false].map(|wait| Fault::Vaults(cheap[at % cheap.len()], wait)));
        }
        for at in 0..self.crashes {
            let first = random.usize(0..cheap.len());
            for (number, handler) in HANDLERS.into_iter().enumerate() {
                let how = cheap[(first + number + at) % cheap.len()];
                faults.push(Fault::Handler(handler, how, (number + at) % 2 == 0));
            }
            faults.push(Fault::Alarm(cheap[(first + at) % cheap.len()]));
            faults.push(Fault::Request(cheap[(first + at) % cheap.len()], at % 2 == 0));
        }
        faults.extend(vec![Fault::Hibernation; self.hibernations]);
        faults.push(Fault::Hang);
        if self.exhaust {
            faults.extend([Fault::Vaults(Crash::Exhaust, true), Fault::Handler("on_event", Crash::Exhaust, false)]);
        }
        random.shuffle(&mut faults);
        faults
    }
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) faults: BTreeMap<String, usize>,
    pub(crate) history: model::Figures,
    pub(crate) seconds: u64,
}

/// Everything that the players remember, and the logs of the rooms.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) stories: Vec<Story>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) visits: Vec<Visit>,
    pub(crate) vaults: BTreeMap<&'static str, (Vec<Row>, State)>,
    pub(crate) depot: Vec<Row>,
    pub(crate) porch: Vec<Row>,
}

/// Runs the faults, and checks the history.
pub(crate) async fn run(extent: Extent) -> Result<Report> {
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(extent.seed);
    let mut host = Host::start(true).await?;
    let (phase, phases) = watch::channel(Phase::Play);
    let (progress, mut progressed) = watch::channel(vec![0; PLAYERS]);
    let stage = Stage { address: host.address().to_owned(), phase: phases, progress, alarm_crash: Arc::default() };
    let ends: BTreeMap<_, _> = VAULTS.map(|room| (room, watch::channel(None))).into();

    let mut clients: Vec<JoinHandle<Result<Story>>> = Vec::new();
    let mut workers: Vec<JoinHandle<Result<Sent>>> = Vec::new();
    let mut visitors: Vec<JoinHandle<Result<Vec<Visit>>>> = Vec::new();
    let mut player = 0..PLAYERS;
    for room in VAULTS {
        for (at, number) in player.by_ref().take(CLIENTS).enumerate() {
            let codec = if at == 0 { Codec::MessagePack } else { Codec::Json };
            let last = ends[room].1.clone();
            clients.push(tokio::spawn(players::client(stage.clone(), number, room, codec, random.fork(), last)));
        }
        for (is_keyed, number) in [true, false].into_iter().zip(player.by_ref()) {
            workers.push(tokio::spawn(players::worker(stage.clone(), number, room, is_keyed)));
        }
    }
    for number in player {
        visitors.push(tokio::spawn(players::visitor(stage.clone(), number, random.fork())));
    }

    let mut director = Director {
        address: host.address().to_owned(),
        saboteurs: Vec::new(),
        alarm_crash: stage.alarm_crash.clone(),
        ahead_ms: 0,
    };
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    let all = extent.faults(&mut random);
    let total = all.len();
    for (number, fault) in all.into_iter().enumerate() {
        let advanced = advance(&mut progressed).await;
        let has_ended = clients.iter().any(JoinHandle::is_finished)
            || workers.iter().any(JoinHandle::is_finished)
            || visitors.iter().any(JoinHandle::is_finished);
        if has_ended {
            // The reason is the error of that player.
            break;
        }
        advanced.with_context(|| format!("before fault {number} of {total}, {}", fault.name()))?;
        sleep(Duration::from_millis(random.u64(0..150))).await;
        eprintln!("{:>6.1} s  {}", begun.elapsed().as_secs_f64(), fault.name());
        let failed = || format!("fault {number} of {total}, {}", fault.name());
        director.inject(fault, &mut host, &phase, &mut random).await.with_context(failed)?;
        *faults.entry(fault.name()).or_default() += 1;
    }
    host.fail_storage(false)?;
    phase.send_replace(Phase::Stop);

    let mut history = History::default();
    for worker in workers {
        history.sent.push(worker.await??);
    }
    for visitor in visitors {
        history.visits.extend(visitor.await??);
    }
    history.visits.append(&mut director.saboteurs);
    // The last alarms are due: those that were planned while the clock was ahead, too.
    host.set_clock(STEPS.into_iter().max().unwrap_or(0) + 10_000)?;
    settle(&director.address, &mut history, &ends, &mut clients).await?;
    host.stop().await?;

    let figures = model::check(&history)?;
    Ok(Report { seed: extent.seed, faults, history: figures, seconds: begun.elapsed().as_secs() })
}

/// Waits until each player has made progress.
async fn advance(progressed: &mut watch::Receiver<Vec<u64>>) -> Result<()> {
    let before = progressed.borrow().clone();
    let has_advanced = |now: &Vec<u64>| now.iter().zip(&before).all(|(now, before)| *now >= before + BETWEEN);
    let is_late = timeout(RECOVERY, progressed.wait_for(has_advanced)).await.is_err();
    if is_late {
        let now = progressed.borrow();
        let stuck: Vec<_> = (0..PLAYERS).filter(|at| now[*at] < before[*at] + BETWEEN).collect();
        bail!("the players {stuck:?} of {PLAYERS} made no progress in {RECOVERY:?}");
    }
    Ok(())
}

/// The position of the last entry of a room, once it is known. Its clients listen until then.
type End = (watch::Sender<Option<u64>>, watch::Receiver<Option<u64>>);

/// Waits until the rooms have nothing left to do, and reads their logs.
async fn settle(
    address: &str,
    history: &mut History,
    ends: &BTreeMap<&'static str, End>,
    clients: &mut Vec<JoinHandle<Result<Story>>>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        for room in VAULTS {
            let base = format!("http://{address}/vault/{room}");
            let rows = worker::log(&base).await?;
            let state: Option<State> = worker::read(&format!("{base}/state")).await?;
            // Clients may end once they have heard the last entry.
            let last = rows.iter().rfind(|row| row.kind == "entry").map_or(0, |row| row.seq);
            ends[room].0.send_replace(Some(last));
            history.vaults.insert(room, (rows, state.unwrap_or_default()));
        }
        if clients.iter().all(JoinHandle::is_finished) {
            for client in clients.drain(..) {
                history.stories.push(client.await??);
            }
        }
        history.depot = worker::log(&format!("http://{address}/depot/main")).await?;
        history.porch = worker::log(&format!("http://{address}/porch/hall")).await?;
        let Some(unsettled) = model::unsettled(history, !clients.is_empty()) else { return Ok(()) };
        if begun.elapsed() > RECOVERY * 2 {
            bail!("the rooms do not come to rest: {unsettled}");
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The one that injects the faults.
struct Director {
    address: String,
    /// The peers that made handlers crash.
    saboteurs: Vec<Visit>,
    alarm_crash: Arc<Mutex<Option<Crash>>>,
    /// How far the clock of workerd is ahead.
    ahead_ms: i64,
}

impl Director {
    async fn inject(
        &mut self,
        fault: Fault,
        host: &mut Host,
        phase: &watch::Sender<Phase>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        match fault {
            Fault::Kill => host.kill().await,
            Fault::Restart => host.restart().await,
            Fault::Cut => {
                host.cut(random);
                Ok(())
            }
            Fault::Vaults(how, wait) => self.crash_vaults(how, if wait { 20 } else { 0 }).await,
            Fault::Handler(handler, how, wait) => self.sabotage(handler, how, wait).await,
            Fault::Request(how, wait) => {
                let sabotage =
                    porch::Sabotage { handler: "on_request".to_owned(), how, wait_ms: if wait { 20 } else { 0 } };
                let uri = format!("http://{}/porch/hall/request", self.address);
                let request = Request::post(uri).body(Bytes::from(serde_json::to_vec(&sabotage)?))?;
                // It must not hang; its status is that of a crashed Worker or of a typed error.
                worker::fetch(request).await?;
                Ok(())
            }
            Fault::Alarm(how) => {
                *lock(&self.alarm_crash) = Some(how);
                Ok(())
            }
            Fault::Storage => {
                host.fail_storage(true)?;
                sleep(Duration::from_millis(random.u64(50..400))).await;
                host.fail_storage(false)
            }
            Fault::Clock(ahead_ms) => {
                host.set_clock(ahead_ms)?;
                // In a running workerd no timer ends before the clock has reached the time that it had: the time goes back
                // only for an object that moves to another machine.
                if ahead_ms < std::mem::replace(&mut self.ahead_ms, ahead_ms) {
                    host.kill().await?;
                }
                Ok(())
            }
            Fault::Hibernation => {
                phase.send_replace(Phase::Rest);
                sleep(IDLE).await;
                phase.send_replace(Phase::Play);
                Ok(())
            }
            Fault::Hang => {
                let uri = format!("ws://{}/vault/a/ws", self.address);
                if let Some(client) = worker::open(&uri).await? {
                    let _ = client.send_text(serde_json::to_string(&Event::Hang {})?).await;
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        }
    }

    /// Crashes both vaults at the same time, by peers without `room.v1`. Each gets an error frame or a close.
    async fn crash_vaults(&self, how: Crash, wait_ms: u64) -> Result<()> {
        let crash = serde_json::to_string(&Event::Crash { how, wait_ms })?;
        let mut peers = Vec::new();
        for room in VAULTS {
            peers.extend(worker::open(&format!("ws://{}/vault/{room}/ws", self.address)).await?);
        }
        for peer in &peers {
            let _ = peer.send_text(&*crash).await;
        }
        for peer in &peers {
            let reported = timeout(PATIENCE, async {
                // The entries of others come first.
                while let Ok(frame) = peer.receive().await {
                    if matches!(&frame, Frame::Text(text) if text.starts_with(r#"{"$room":{"error""#)) {
                        break;
                    }
                }
            });
            reported.await.context("a peer is not told of the crash")?;
            let _ = peer.close(1000, "").await;
        }
        Ok(())
    }

    /// Makes a handler of the porch crash.
    async fn sabotage(&mut self, handler: &'static str, how: Crash, wait: bool) -> Result<()> {
        let id = format!("saboteur-{}", self.saboteurs.len());
        let wait_ms = if wait { 20 } else { 0 };
        let crash = porch::Sabotage { handler: handler.to_owned(), how, wait_ms };
        let with = serde_json::to_string(&porch::Connection { crash: Some(crash) })?;
        let query = |token: Option<&str>| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("id", &id).append_pair("with", &with);
            if let Some(token) = token {
                query.append_pair("token", token);
            }
            format!("ws://{}/porch/hall/ws?{}", self.address, query.finish())
        };
        let mut visit = Visit { id: id.clone(), is_greeted: false, left: Left::Lost, crash: Some((handler, wait)) };
        if let Some(client) = worker::open(&query(None)).await? {
            let token = players::greet(&client).await?;
            visit.is_greeted = token.is_some();
            match (handler, token) {
                ("on_event", Some(_)) => {
                    let event = serde_json::to_string(&porch::Event::Crash { how, wait_ms })?;
                    let _ = client.send_text(event).await;
                    // An error frame, or the end of the connection.
                    timeout(PATIENCE, client.receive()).await.context("the sender of a lost frame is not told")?.ok();
                }
                ("on_close" | "on_leave", Some(_)) => {
                    let _ = client.close(1000, "").await;
                    let closing = timeout(PATIENCE, client.receive()).await;
                    if closing.context("a close hangs")?.is_err_and(|closed| closed.code == 1000) {
                        visit.left = Left::Closed;
                    }
                }
                ("on_resume", Some(token)) => {
                    client.disconnect();
                    drop(client);
                    if let Some(client) = worker::open(&query(Some(&token))).await? {
                        let _ = players::greet(&client).await?;
                    }
                }
                _ => {}
            }
        }
        self.saboteurs.push(visit);
        Ok(())
    }
}
