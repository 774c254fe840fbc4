//! Deploys and rollbacks between two releases whose schemas all differ, while clients use the room.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use room_client::{Builder, Codec, Incoming, Reconnect, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use torture_rooms::log::Row;

use crate::{
    host::{Host, Release},
    worker::{self, PATIENCE},
};

const CLIENTS: usize = 3;

/// The acknowledgements that each client gets between two deploys.
const BETWEEN: u64 = 5;

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) deploys: usize,
    pub(crate) rollbacks: usize,
    pub(crate) acknowledged: u64,
    pub(crate) heard: u64,
    pub(crate) schedules: u64,
    pub(crate) resumed: u64,
}

/// The events of both releases: the first one ignores the field that it does not know.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Event {
    Put { who: String, n: u64, note: Option<String> },
}

/// The messages of both releases.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Broadcast {
    Put { seq: u64, who: String, n: u64 },
}

#[derive(Debug, Default)]
struct Story {
    who: String,
    put: Vec<u64>,
    planned: Vec<(String, u64)>,
    heard: Vec<(u64, String, u64)>,
    resumed: u64,
}

/// Runs as many deploys as rollbacks.
pub(crate) async fn run(seed: u64, rounds: usize) -> Result<Report> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut host = Host::start(false).await?;
    let (stop, stopped) = watch::channel(false);
    let (last, lasts) = watch::channel(None);
    let (progress, mut progressed) = watch::channel([0; CLIENTS]);
    let clients: Vec<JoinHandle<Result<Story>>> = (0..CLIENTS)
        .map(|at| {
            let url = format!("ws://{}/shelf/s/ws", host.address());
            tokio::spawn(client(url, at, random.fork(), stopped.clone(), lasts.clone(), progress.clone()))
        })
        .collect();
    let mut report = Report::default();
    for round in 0..=rounds {
        let before = *progressed.borrow();
        let have_progress = |now: &[u64; CLIENTS]| now.iter().zip(before).all(|(now, before)| *now >= before + BETWEEN);
        if timeout(PATIENCE, progressed.wait_for(have_progress)).await.is_err() {
            // The error of a client says more.
            for client in clients.into_iter().filter(JoinHandle::is_finished) {
                client.await??;
            }
            bail!("no progress after deploy {round}");
        }
        if round == rounds {
            break;
        }
        sleep(Duration::from_millis(random.u64(0..200))).await;
        if round % 2 == 0 {
            host.deploy(Release::Next).await?;
            report.deploys += 1;
        } else {
            host.deploy(Release::First).await?;
            report.rollbacks += 1;
        }
    }
    stop.send_replace(true);

    let base = format!("http://{}/shelf/s", host.address());
    let rows = timeout(PATIENCE * 2, async {
        loop {
            let rows = worker::log(&base).await?;
            last.send_replace(rows.iter().rfind(|row| row.kind == "entry").map(|row| row.seq));
            let fired: BTreeSet<_> = of(&rows, "fired").map(|row| &row.who).collect();
            if of(&rows, "planned").all(|row| fired.contains(&row.who)) && clients.iter().all(JoinHandle::is_finished) {
                return anyhow::Ok(rows);
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    let rows = rows.await.context("the room does not come to rest")??;
    let state: Value = worker::read(&format!("{base}/state")).await?;
    host.stop().await?;

    let entries: Vec<_> = of(&rows, "entry").map(|row| (row.seq, row.who.clone(), row.n)).collect();
    ensure!(state["items"] == entries.len(), "state and log differ: {state} and {}", entries.len());
    for client in clients {
        let story = client.await??;
        let own: Vec<_> = entries.iter().filter(|(_, who, _)| *who == story.who).map(|(.., n)| *n).collect();
        ensure!(own == story.put, "{}: the log differs from what was acknowledged", story.who);
        let first = story.heard.first().context("no message")?.0;
        let expected: Vec<_> = entries.iter().filter(|(seq, ..)| *seq >= first).cloned().collect();
        ensure!(story.heard == expected, "{} heard something else than the room's log", story.who);
        for (id, due) in &story.planned {
            let fired: Vec<_> = of(&rows, "fired").filter(|row| row.who == *id).collect();
            ensure!(fired.len() == 1, "{id} fired {} times", fired.len());
            ensure!(fired[0].n == *due && fired[0].at_ms >= *due, "{id} fired early, or as another: {:?}", fired[0]);
        }
        report.acknowledged += (story.put.len() + story.planned.len()) as u64;
        report.heard += story.heard.len() as u64;
        report.schedules += story.planned.len() as u64;
        report.resumed += story.resumed;
    }
    Ok(report)
}

async fn client(
    url: String,
    at: usize,
    mut random: fastrand::Rng,
    stopped: watch::Receiver<bool>,
    mut last: watch::Receiver<Option<u64>>,
    progress: watch::Sender<[u64; CLIENTS]>,
) -> Result<Story> {
    let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(400));
    let codec = Codec::Json;
    let (room, mut messages) = Builder::new(url).codec(codec).reconnect(reconnect).connect::<Event, Broadcast>();
    let who = format!("client-{at}");
    let listening = tokio::spawn(async move {
        let (mut heard, mut resumed) = (Vec::new(), 0);
        loop {
            let is_complete = |last: &Option<u64>| {
                last.is_some_and(|last| heard.last().is_some_and(|(seq, ..): &(u64, String, u64)| *seq >= last))
            };
            let item = tokio::select! {
                item = messages.next() => item.context("the connection ended")?,
                complete = last.wait_for(is_complete) => {
                    complete?;
                    return anyhow::Ok((heard, resumed));
                }
            };
            match item {
                Incoming::Message(Broadcast::Put { seq, who, n }) => heard.push((seq, who, n)),
                Incoming::Status(Status::Open { resumed: true, gap: false, .. }) => resumed += 1,
                Incoming::Status(Status::Open { gap: true, .. }) | Incoming::Gap { .. } | Incoming::Lagged { .. } => {
                    anyhow::bail!("messages are missing: {item:?}")
                }
                Incoming::Undecodable(undecodable) => anyhow::bail!("{undecodable:?}"),
                _ => {}
            }
        }
    });
    let mut story = Story { who: who.clone(), ..Story::default() };
    let mut n = 0;
    while !*stopped.borrow() {
        n += 1;
        if random.u8(0..4) > 0 {
            let event = Event::Put { who: who.clone(), n, note: Some("a note".to_owned()) };
            timeout(PATIENCE, room.send(&event)).await.context("an event hangs")??;
            story.put.push(n);
        } else {
            let id = format!("{who}~{n}");
            let arguments = json!({ "id": id, "after_ms": random.u64(0..3_000) });
            let calling = room.call::<u64, String>("plan", &arguments);
            let due = timeout(PATIENCE, calling).await.context("a call hangs")??;
            story.planned.push((id, due));
        }
        progress.send_modify(|progress| progress[at] += 1);
    }
    let (heard, resumed) = timeout(PATIENCE * 2, listening).await.context("messages are missing")???;
    room.close(1000, "")?;
    Ok(Story { heard, resumed, ..story })
}

fn of<'a>(rows: &'a [Row], kind: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.kind == kind)
}
