//! The client with a real room: what was acknowledged is there once, no call ran twice, and each client heard the same as all
//! others, while workerd is killed and the network is cut.
//!
//! It needs the built worker of tests/e2e/rooms, and Node.js with the packages of the repository: `cargo xtask test --only wasm
//! --only e2e`. `CLIENT_ROUNDS=40` is 20 kills and 20 cuts.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use room_client::{Builder, Client, Incoming, Messages, Reconnect, Status};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    task::AbortHandle,
    time::timeout,
};

const CLIENTS: usize = 5;
/// The kills of workerd and the cuts of connections, in turn.
const ROUNDS: usize = 12;
/// The acknowledgements that each client gets between two rounds, so that each is connected when the next one begins.
const BETWEEN: i64 = 3;
/// The most events and calls of a client: the room stores its whole history as one value.
const MOST: i64 = 4_000;
type Counts = [i64; CLIENTS];

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(tag = "type")]
enum Event {
    Add { entry: String },
}

/// The arguments of the function `add`.
#[derive(Serialize)]
struct Add {
    entry: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Broadcast {
    Added { index: usize, entry: String },
}

/// A workerd, and the Node.js process that controls it.
struct Host {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Host {
    async fn start() -> Result<(Self, String)> {
        // Cargo sets the variable at run time, so a moved checkout works too.
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let script = PathBuf::from(folder).join("tests/serve.mjs");
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run `node`")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("`node` has no input or no output");
        };
        let mut host = Host { child, input, lines: BufReader::new(output).lines() };
        let address = host.ready().await?;
        Ok((host, address))
    }

    /// Kills the process, and returns the address of the new one.
    async fn kill(&mut self) -> Result<String> {
        self.input.write_all(b"kill\n").await?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<String> {
        let waiting = timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(address) = line.strip_prefix("ready http://") {
                    return Ok(address.to_owned());
                }
            }
            bail!("workerd did not start; what the process printed is above")
        });
        waiting.await.context("workerd did not start in time")?
    }

    async fn stop(self) -> Result<()> {
        let Host { mut child, input, .. } = self;
        drop(input);
        timeout(PATIENCE, child.wait()).await.context("the process does not end")??;
        Ok(())
    }
}

/// The cable between the clients and the server.
#[derive(Clone)]
struct Cable {
    address: Arc<Mutex<String>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Cable {
    /// Returns the address of its end for the clients.
    async fn lay(server: String) -> Result<(Self, String)> {
        let cable = Cable { address: Arc::new(Mutex::new(server)), connections: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let end = format!("ws://{}/ledger/rust", listener.local_addr()?);
        let this = cable.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let address = this.address.lock().expect("no panic").clone();
                let carrying = tokio::spawn(carry(client, address));
                let mut connections = this.connections.lock().expect("no panic");
                connections.retain(|connection| !connection.is_finished());
                connections.push(carrying.abort_handle());
            }
        });
        Ok((cable, end))
    }

    fn lead_to(&self, server: String) {
        *self.address.lock().expect("no panic") = server;
    }

    /// Cuts every other connection, without a close frame. What is on its way is lost.
    fn cut(&self, first: usize) -> usize {
        let connections = self.connections.lock().expect("no panic");
        let cut: Vec<_> =
            connections.iter().filter(|connection| !connection.is_finished()).skip(first).step_by(2).collect();
        cut.iter().for_each(|connection| connection.abort());
        cut.len()
    }
}

async fn carry(mut client: TcpStream, address: String) -> std::io::Result<()> {
    let mut server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The items that a client received.
#[derive(Default)]
struct Heard {
    /// How often the session went on, and how often a new one began.
    resumed: u32,
    begun: u32,
    messages: Vec<(usize, String)>,
}

/// Listens until the room has no more than `last` entries to send.
async fn listen(mut messages: Messages<Broadcast>, mut last: watch::Receiver<Option<usize>>) -> Result<Heard> {
    let mut heard = Heard::default();
    loop {
        let is_complete =
            |last: &Option<usize>| last.is_some_and(|last| heard.messages.last().is_some_and(|(at, _)| *at == last));
        let item = tokio::select! {
            item = messages.next() => item.context("the connection ended")?,
            complete = last.wait_for(is_complete) => {
                complete?;
                return Ok(heard);
            }
        };
        match item {
            Incoming::Status(Status::Open { resumed: true, gap: false, .. }) => heard.resumed += 1,
            Incoming::Status(Status::Open { gap: false, .. }) => heard.begun += 1,
            Incoming::Message(Broadcast::Added { index, entry }) => heard.messages.push((index, entry)),
            Incoming::Undecodable(undecodable) => bail!("{undecodable:?}"),
            Incoming::Error(error) => bail!(error),
            Incoming::Status(Status::Open { .. }) | Incoming::Gap { .. } | Incoming::Lagged { .. } => {
                bail!("messages are missing: {item:?}")
            }
            _ => {}
        }
    }
}

/// Adds until the test is over, by events and by calls in turn, and not more than is allowed. Returns the answers.
async fn add(
    room: Client<Event>,
    at: usize,
    acknowledged: watch::Sender<Counts>,
    mut allowed: watch::Receiver<Option<i64>>,
) -> Result<Vec<(usize, String)>> {
    let (mut added, mut answers) = (0, Vec::new());
    while allowed.wait_for(|allowed| allowed.is_none_or(|allowed| added < allowed)).await?.is_some() {
        let entry = format!("{at}-{added}");
        if added % 2 == 0 {
            room.send(&Event::Add { entry }).await?;
        } else {
            let index = room.call::<usize, String>("add", &Add { entry: entry.clone() }).await?;
            answers.push((index, entry));
        }
        added += 1;
        acknowledged.send_modify(|acknowledged| acknowledged[at] = added);
    }
    Ok(answers)
}

#[tokio::test]
#[ignore = "it needs a workerd and the built worker of tests/e2e/rooms: `cargo xtask test --only wasm --only e2e`"]
async fn nothing_is_lost_or_repeated_through_kills_and_cuts() -> Result<()> {
    let rounds = std::env::var("CLIENT_ROUNDS").ok().map(|rounds| rounds.parse()).transpose()?.unwrap_or(ROUNDS);
    let (mut host, server) = Host::start().await?;
    let (cable, url) = Cable::lay(server).await?;
    let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(500));
    let connect = || Builder::new(url.as_str()).reconnect(reconnect).connect::<Event, Broadcast>();

    let (acknowledged, mut reached) = watch::channel([0; CLIENTS]);
    let (allow, allowed) = watch::channel(Some(0));
    let (complete, completed) = watch::channel(None);
    let (mut adding, mut listening) = (Vec::new(), Vec::new());
    let mut rooms = Vec::new();
    for at in 0..CLIENTS {
        let (room, messages) = connect();
        rooms.push(room.clone());
        listening.push(tokio::spawn(listen(messages, completed.clone())));
        adding.push(tokio::spawn(add(room, at, acknowledged.clone(), allowed.clone())));
    }

    let mut cuts = 0;
    for round in 0..=rounds {
        allow.send_modify(|allowed| *allowed = allowed.map(|allowed| allowed + MOST / (rounds as i64 + 2)));
        let before = *acknowledged.borrow();
        let have_progress = |now: &Counts| (0..CLIENTS).all(|at| now[at] >= before[at] + BETWEEN);
        timeout(PATIENCE, reached.wait_for(have_progress)).await.context("no progress")??;
        if round == rounds {
            break;
        }
        if round % 2 == 0 {
            cable.lead_to(host.kill().await?);
        } else {
            cuts += cable.cut(round / 2 % 2);
        }
    }
    allow.send_replace(None);
    let mut answers = Vec::new();
    for adding in adding {
        answers.push(timeout(PATIENCE, adding).await.context("a client does not end")???);
    }
    let acknowledged = *acknowledged.borrow();
    let entries = timeout(PATIENCE, rooms[0].call::<Vec<String>, String>("entries", &serde_json::json!({}))).await??;
    complete.send_replace(Some(entries.len() - 1));
    let (mut resumed, mut begun) = (0, 0);
    for (at, listening) in listening.into_iter().enumerate() {
        let heard = timeout(PATIENCE, listening).await.with_context(|| format!("client {at} misses messages"))???;
        (resumed, begun) = (resumed + heard.resumed, begun + heard.begun);
        let first = heard.messages.first().context("no message")?.0;
        let expected: Vec<_> = entries.iter().cloned().enumerate().skip(first).collect();
        ensure!(heard.messages == expected, "client {at} heard something else than the room's history");
    }
    for (at, added) in acknowledged.iter().enumerate() {
        let own = entries.iter().filter(|entry| entry.starts_with(&format!("{at}-"))).cloned();
        let expected: Vec<_> = (0..*added).map(|n| format!("{at}-{n}")).collect();
        ensure!(
            own.eq(expected),
            "client {at}: the room's history has other entries than were acknowledged, once and in order"
        );
        for (index, entry) in &answers[at] {
            ensure!(entries[*index] == *entry, "client {at}: the answer of `{entry}` is {index}");
        }
    }
    println!(
        "{rounds} rounds with {cuts} cut connections: {acknowledged:?} acknowledged, {resumed} sessions resumed, {begun} begun"
    );
    ensure!(begun as usize == CLIENTS, "no session was forgotten: {begun} begun");
    for room in &rooms {
        room.close(1000, "")?;
    }
    host.stop().await
}
