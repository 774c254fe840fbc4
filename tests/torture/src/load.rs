//! Load: one large room and many small ones, with mixed traffic and churn, while the memory is measured.
//!
//! Each member checks that nothing is lost or out of order: its echoes, the numbered messages to all, and the numbered
//! messages of its topic.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use test_client::{Client, Frame};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use torture_rooms::crowd_room::crowd::{Broadcast, Event};

use crate::{
    host::Host,
    stats::{Series, Slope},
    worker::{self, PATIENCE},
};

/// The name of the large room.
const LARGE: &str = "large";

/// The topics of a room.
const TOPICS: usize = 8;

/// The sockets that open at the same time.
const OPENING: usize = 32;

/// The time between two measurements of the memory.
const SAMPLE: Duration = Duration::from_secs(1);

/// The text of a message.
const TEXT: &str = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt";

/// The extent of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) seed: u64,
    /// The members of the large room.
    pub(crate) large: usize,
    pub(crate) rooms: usize,
    /// The members of each other room.
    pub(crate) members: usize,
    pub(crate) time: Duration,
    /// The mean time for which a member stays.
    pub(crate) stay: Duration,
}

impl Extent {
    pub(crate) fn short(seed: u64) -> Extent {
        let (time, stay) = (Duration::from_secs(8), Duration::from_secs(20));
        Extent { seed, large: 200, rooms: 20, members: 10, time, stay }
    }

    pub(crate) fn long(seed: u64) -> Extent {
        let (time, stay) = (Duration::from_secs(12 * 60), Duration::from_secs(300));
        Extent { seed, large: 2_000, rooms: 500, members: 10, time, stay }
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) sockets: usize,
    pub(crate) seconds: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) joined: u64,
    pub(crate) left: u64,
    /// Lost or out of order. A run with any of them fails.
    pub(crate) lost: u64,
    pub(crate) resident: Slope,
    pub(crate) heap: Slope,
    #[serde(skip)]
    pub(crate) resident_series: Series,
    #[serde(skip)]
    pub(crate) heap_series: Series,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    joined: AtomicU64,
    left: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The members connect.
    Join,
    Play,
    /// Nobody sends, except the last message of each room.
    End,
}

/// Runs the load.
pub(crate) async fn run(extent: Extent) -> Result<Report> {
    let mut random = fastrand::Rng::with_seed(extent.seed);
    let host = Host::start(false).await?;
    let counts = Arc::new(Counts::default());
    let (phase, phases) = watch::channel(Phase::Join);

    let mut places = vec![(LARGE.to_owned(), extent.large); extent.large];
    for room in 0..extent.rooms {
        places.extend(vec![(format!("small-{room}"), extent.members); extent.members]);
    }
    let sockets = places.len();
    let mut members = JoinSet::new();
    let address = host.direct();
    let mut opening = stream::iter(places.into_iter().enumerate())
        .map(|(number, (room, size))| {
            let uri = format!("ws://{address}/crowd/{room}/ws?topic={}", number % TOPICS);
            async move { (open(&uri).await, uri, size, number) }
        })
        .buffer_unordered(OPENING);
    while let Some((client, uri, size, number)) = opening.next().await {
        let member = Member {
            uri,
            // One member in each room starts the last message.
            is_first: number == 0
                || (number >= extent.large && (number - extent.large).is_multiple_of(extent.members.max(1))),
            size,
            stay: extent.stay,
            random: random.fork(),
            counts: counts.clone(),
            phases: phases.clone(),
        };
        counts.joined.fetch_add(1, Ordering::Relaxed);
        members.spawn(member.live(client?));
    }
    drop(opening);

    phase.send_replace(Phase::Play);
    let begun = Instant::now();
    let (mut resident, mut heap) = (Series::default(), Series::default());
    let mut samples = interval(SAMPLE);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < extent.time {
        tokio::select! {
            _ = samples.tick() => {
                let at = begun.elapsed().as_secs_f64();
                resident.push(at, resident_bytes(host.pid)?);
                heap.push(at, worker::read::<u64>(&format!("http://{address}/memory")).await? as f64);
            }
            Some(ended) = members.join_next() => {
                ended??;
                bail!("a member left for good");
            }
        }
    }
    phase.send_replace(Phase::End);
    let ending = async {
        while let Some(ended) = members.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE * 4, ending).await.context("the last messages do not arrive")??;
    let seconds = begun.elapsed().as_secs();
    host.stop().await?;

    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(Report {
        seed: extent.seed,
        sockets,
        seconds,
        sent: count(&counts.sent),
        received: count(&counts.received),
        joined: count(&counts.joined),
        left: count(&counts.left),
        lost: 0,
        resident: resident.slope(),
        heap: heap.slope(),
        resident_series: resident,
        heap_series: heap,
    })
}

async fn open(uri: &str) -> Result<Client> {
    worker::open(uri).await?.with_context(|| format!("{uri} was refused"))
}

/// The resident memory of a process.
fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the memory of a process needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// One place in a room: when its peer has left, another one comes.
struct Member {
    uri: String,
    is_first: bool,
    /// The size of its room.
    size: usize,
    stay: Duration,
    random: fastrand::Rng,
    counts: Arc<Counts>,
    phases: watch::Receiver<Phase>,
}

/// The messages that a peer got so far.
#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    echoed: u64,
    shout: Option<u64>,
    murmur: Option<u64>,
    ended: bool,
}

impl Member {
    async fn live(mut self, mut client: Client) -> Result<()> {
        loop {
            let seen = Seen::default();
            let stays = self.stay.mul_f64(self.random.f64() * 2.0);
            let ended = self.visit(&client, seen, stays).await.with_context(|| self.uri.clone())?;
            if ended {
                return Ok(());
            }
            self.counts.left.fetch_add(1, Ordering::Relaxed);
            drop(client);
            client = open(&self.uri).await?;
            self.counts.joined.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends and receives until it is time to leave, or until the end of the run.
    async fn visit(&mut self, client: &Client, mut seen: Seen, stays: Duration) -> Result<bool> {
        let mut phases = self.phases.clone();
        phases.wait_for(|phase| *phase != Phase::Join).await?;
        let leaves = Instant::now() + stays;
        let mut next = Instant::now() + self.pause();
        while *phases.borrow_and_update() != Phase::End {
            tokio::select! {
                arrival = client.receive() => self.check(&mut seen, arrival)?,
                () = sleep_until(next.min(leaves)) => {
                    if Instant::now() >= leaves {
                        return self.leave(client, &mut seen).await;
                    }
                    self.speak(client, &mut seen).await?;
                    next = Instant::now() + self.pause();
                }
                changed = phases.changed() => changed?,
            }
        }
        // All messages of this peer come before the last message of the room.
        if self.is_first {
            // Those who were about to leave have left.
            self.send(client, &Event::Shout { text: "end".to_owned() }).await?;
        }
        let ending = async {
            while !(seen.ended && seen.echoed == seen.sent) {
                let arrival = client.receive().await;
                self.check(&mut seen, arrival)?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE * 2, ending).await.with_context(|| format!("the end was not heard: {seen:?}"))??;
        client.close(1000, "").await?;
        Ok(true)
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(0..20_000))
    }

    async fn speak(&mut self, client: &Client, seen: &mut Seen) -> Result<()> {
        let text = TEXT[..self.random.usize(1..TEXT.len())].to_owned();
        // The larger the room, the rarer its messages to all, so that each member hears some in a minute.
        let event = match self.random.usize(0..self.size.max(10)) {
            0 => Event::Shout { text },
            1..6 => Event::Murmur { text },
            _ => {
                seen.sent += 1;
                Event::Echo { n: seen.sent, text }
            }
        };
        self.send(client, &event).await
    }

    async fn send(&self, client: &Client, event: &Event) -> Result<()> {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        Ok(client.send_text(serde_json::to_string(event)?).await?)
    }

    fn check(&self, seen: &mut Seen, arrival: Result<Frame, test_client::Closed>) -> Result<()> {
        let text = match arrival {
            Ok(Frame::Text(text)) => text,
            Ok(Frame::Binary(_)) => bail!("a binary frame"),
            Err(closed) => bail!("the room closed the connection with {closed}"),
        };
        self.counts.received.fetch_add(1, Ordering::Relaxed);
        let follows = |last: &mut Option<u64>, seq: u64, what: &str| {
            ensure!(last.is_none_or(|last| seq == last + 1), "{what} {seq} came after {last:?}");
            *last = Some(seq);
            Ok(())
        };
        match serde_json::from_str(&text).with_context(|| text.clone())? {
            Broadcast::Echo { n, .. } => {
                ensure!(n == seen.echoed + 1, "echo {n} came after {}", seen.echoed);
                seen.echoed = n;
            }
            Broadcast::Shout { seq, text } => {
                follows(&mut seen.shout, seq, "shout")?;
                seen.ended |= text == "end";
            }
            Broadcast::Murmur { seq, .. } => follows(&mut seen.murmur, seq, "murmur")?,
        }
        Ok(())
    }

    /// Leaves, by a close frame or without one.
    async fn leave(&mut self, client: &Client, seen: &mut Seen) -> Result<bool> {
        if self.random.bool() {
            client.disconnect();
            return Ok(false);
        }
        client.close(1000, "").await?;
        let closing = async {
            loop {
                match client.receive().await {
                    Err(closed) if closed.code == 1000 => return anyhow::Ok(()),
                    arrival => self.check(seen, arrival)?,
                }
            }
        };
        timeout(PATIENCE, closing).await.context("a close is not answered")??;
        ensure!(seen.echoed == seen.sent, "{} of {} echoes before the close", seen.echoed, seen.sent);
        Ok(false)
    }
}
