//! The client with a real room: each event that was acknowledged is counted once, while workerd is killed and the network
//! is cut.
//!
//! It needs the built worker of examples/counter, and Node.js with the packages of the repository: `cargo xtask test --only wasm
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
    task::{AbortHandle, JoinSet},
    time::timeout,
};

const CLIENTS: usize = 5;
/// The kills of workerd and the cuts of connections, in turn.
const ROUNDS: usize = 12;
/// The acknowledgements that each client gets between two rounds, so that each is connected when the next one begins.
const BETWEEN: i64 = 3;
/// Each client adds in digits of its own, so that the count shows the events of each.
const DIGITS: i64 = 5_000;
type Counts = [i64; CLIENTS];

fn unit(at: usize) -> i64 {
    (0..at).fold(1, |unit, _| unit * DIGITS)
}

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
#[serde(tag = "type")]
enum Event {
    Add { amount: i64 },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Broadcast {
    Count { count: i64 },
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
        let end = format!("ws://{}/", listener.local_addr()?);
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

/// Counts how often the session went on, and how often a new one began.
async fn watch(mut messages: Messages<Broadcast>) -> Result<(u32, u32)> {
    let (mut resumed_times, mut begun) = (0, 0);
    while let Some(item) = messages.next().await {
        match item {
            Incoming::Status(Status::Open { resumed: true, .. }) => resumed_times += 1,
            Incoming::Status(Status::Open { .. }) => begun += 1,
            Incoming::Undecodable(undecodable) => bail!("{undecodable:?}"),
            Incoming::Error(error) => bail!(error),
            _ => {}
        }
    }
    Ok((resumed_times, begun))
}

/// Adds until the test is over, and not more than the digits hold.
async fn add(
    room: Client<Event>,
    at: usize,
    acknowledged: watch::Sender<Counts>,
    mut allowed: watch::Receiver<Option<i64>>,
) -> Result<()> {
    let mut added = 0;
    while allowed.wait_for(|allowed| allowed.is_none_or(|allowed| added < allowed)).await?.is_some() {
        room.send(&Event::Add { amount: unit(at) }).await?;
        added += 1;
        acknowledged.send_modify(|acknowledged| acknowledged[at] = added);
    }
    room.close(1000, "")?;
    room.closed().await;
    Ok(())
}

#[tokio::test]
#[ignore = "it needs a workerd and the built worker of examples/counter: `cargo xtask test --only wasm --only e2e`"]
async fn each_acknowledged_event_is_counted_once_through_kills_and_cuts() -> Result<()> {
    let rounds = std::env::var("CLIENT_ROUNDS").ok().map(|rounds| rounds.parse()).transpose()?.unwrap_or(ROUNDS);
    let (mut host, server) = Host::start().await?;
    let (cable, url) = Cable::lay(server).await?;
    let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(500));
    let connect = || Builder::new(url.as_str()).reconnect(reconnect).connect::<Event, Broadcast>();

    let (acknowledged, mut reached) = watch::channel([0; CLIENTS]);
    let (allow, allowed) = watch::channel(Some(0));
    let (mut adding, mut watching) = (JoinSet::new(), JoinSet::new());
    for at in 0..CLIENTS {
        let (room, messages) = connect();
        watching.spawn(watch(messages));
        adding.spawn(add(room, at, acknowledged.clone(), allowed.clone()));
    }

    let mut cuts = 0;
    for round in 0..=rounds {
        allow.send_modify(|allowed| *allowed = allowed.map(|allowed| allowed + DIGITS / (rounds as i64 + 2)));
        let before = *acknowledged.borrow();
        let have_progress = |now: &Counts| (0..CLIENTS).all(|at| now[at] >= before[at] + BETWEEN);
        tokio::select! {
            ended = adding.join_next() => bail!("a client ended: {ended:?}"),
            reached = timeout(PATIENCE, reached.wait_for(have_progress)) => drop(reached.context("no progress")??),
        }
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
    while let Some(added) = timeout(PATIENCE, adding.join_next()).await.context("a client does not end")? {
        added??;
    }
    let acknowledged = *acknowledged.borrow();
    let (mut resumed, mut begun) = (0, 0);
    while let Some(watched) = watching.join_next().await {
        let (more, new) = watched??;
        resumed += more;
        begun += new;
    }

    let (_watcher, mut messages) = connect();
    let count = loop {
        match timeout(PATIENCE, messages.next()).await.context("no count")? {
            Some(Incoming::Message(Broadcast::Count { count })) => break count,
            Some(_) => {}
            None => bail!("the watcher was closed"),
        }
    };
    let counted: Counts = std::array::from_fn(|at| count / unit(at) % DIGITS);
    println!(
        "{rounds} rounds with {cuts} cut connections: {acknowledged:?} events, {resumed} sessions resumed, {begun} begun"
    );
    ensure!(counted == acknowledged, "counted {counted:?}, acknowledged {acknowledged:?}");
    ensure!(acknowledged.iter().all(|events| (1..DIGITS).contains(events)), "the events fit into the digits");
    ensure!(begun as usize == CLIENTS, "no session was forgotten: {begun} begun");
    host.stop().await
}
