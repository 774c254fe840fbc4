//! The measured workloads.

mod acknowledge;
mod batch;
mod broadcast;
mod calls;
mod churn;
mod cold;
mod echo;
mod rooms;
mod wake;

use anyhow::{Context, Result, bail};

use crate::{
    cli::Options,
    engine, files,
    machine::raise_open_files,
    peer::Place,
    rebuild,
    session::{Session, Turns, take_turns},
    sizes::Size,
    variants::{Variant, Worker},
    workerd::Workerd,
};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    Echo,
    EchoWindow,
    Add,
    Broadcast100x64,
    Broadcast100x8k,
    Broadcast1000x64,
    Broadcast1000x8k,
    Send,
    Rooms,
    Churn,
    Batch,
    Acknowledge,
    AcknowledgeAdd,
    Cold,
    Wake10,
    Wake1000,
    Wake10000,
    Size,
    Rebuild,
    Engine,
}

/// The variants that each workload compares.
const VARIANTS: &[Variant] = &[Variant::Bare, Variant::BareAgain, Variant::Partyserver, Variant::Plain, Variant::Ours];

/// A client that numbers its events, and one that does not.
const NUMBERED: &[Variant] = &[Variant::Unnumbered, Variant::Acknowledged];

impl Workload {
    /// All workloads, in the order in which they run.
    pub(crate) const ALL: [Workload; 20] = [
        Workload::Echo,
        Workload::EchoWindow,
        Workload::Add,
        Workload::Broadcast100x64,
        Workload::Broadcast100x8k,
        Workload::Broadcast1000x64,
        Workload::Broadcast1000x8k,
        Workload::Send,
        Workload::Rooms,
        Workload::Churn,
        Workload::Batch,
        Workload::Acknowledge,
        Workload::AcknowledgeAdd,
        Workload::Cold,
        Workload::Wake10,
        Workload::Wake1000,
        Workload::Wake10000,
        Workload::Size,
        Workload::Rebuild,
        Workload::Engine,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Echo => "echo",
            Workload::EchoWindow => "echo-window",
            Workload::Add => "add",
            Workload::Broadcast100x64 => "broadcast-100-64",
            Workload::Broadcast100x8k => "broadcast-100-8k",
            Workload::Broadcast1000x64 => "broadcast-1000-64",
            Workload::Broadcast1000x8k => "broadcast-1000-8k",
            Workload::Send => "send",
            Workload::Rooms => "rooms",
            Workload::Churn => "churn",
            Workload::Batch => "batch",
            Workload::Acknowledge => "acknowledge-echo",
            Workload::AcknowledgeAdd => "acknowledge-add",
            Workload::Cold => "cold",
            Workload::Wake10 => "wake-10",
            Workload::Wake1000 => "wake-1000",
            Workload::Wake10000 => "wake-10000",
            Workload::Size => "size",
            Workload::Rebuild => "rebuild",
            Workload::Engine => "engine",
        }
    }

    /// The hibernating rooms of a workload; such workloads are measured in the same period of hibernation.
    fn sleepers(self) -> Option<wake::Sleepers> {
        let (peers, rooms) = match self {
            Workload::Wake10 => (10, 5),
            Workload::Wake1000 => (1_000, 2),
            Workload::Wake10000 => (10_000, 1),
            _ => return None,
        };
        Some(wake::Sleepers { workload: self.name(), peers, rooms })
    }
}

/// Measures the chosen workloads.
pub(crate) async fn run(session: &mut Session) -> Result<()> {
    let chosen = session.options.workloads.clone();
    open_files(&session.options)?;
    let sleepers: Vec<_> = chosen.iter().filter_map(|workload| workload.sleepers()).collect();
    let sleepers = if session.options.quick { &sleepers[..sleepers.len().min(1)] } else { &sleepers };
    let awake: Vec<_> = chosen.iter().copied().filter(|it| it.sleepers().is_none()).collect();

    if !awake.is_empty() {
        let workerd = session.workerd().await?;
        for workload in awake {
            session.progress(workload.name());
            let measured = measure(workload, session, &workerd).await;
            if let Err(error) = workerd.explain(measured) {
                session.failed(&error);
            }
        }
        workerd.stop().await?;
    }
    if !sleepers.is_empty() {
        let variants: Vec<_> = VARIANTS.iter().copied().filter(|it| *it != Variant::BareAgain).collect();
        wake::run(session, &variants, sleepers).await?;
    }
    Ok(())
}

/// Checks the limit of open files before the first measurement.
fn open_files(options: &Options) -> Result<()> {
    let asleep: usize = options.workloads.iter().filter_map(|it| it.sleepers()).map(|it| it.peers * it.rooms).sum();
    // The sockets of `wake`, or of five variants of a broadcast to 1,000. Databases and pipes need files as well.
    let sockets = if options.quick { 0 } else { asleep.max(5_000) };
    let needed = sockets as u64 + 1_000;
    let allowed = raise_open_files();
    if needed > allowed {
        bail!("{needed} open files are needed and the limit is {allowed}: raise it with `ulimit -n {needed}`");
    }
    Ok(())
}

async fn measure(workload: Workload, session: &mut Session, workerd: &Workerd) -> Result<()> {
    let name = workload.name();
    let rounds = session.options.rounds;
    let turns = |messages: u64| Turns {
        workload: name,
        variants: VARIANTS,
        messages,
        warm_up: messages.div_ceil(8),
        slices: session.size(20, 2) as usize,
        rounds,
    };
    // If one message takes long, few of them make a long slice.
    let few = session.size(10, 2) as usize;
    match workload {
        Workload::Echo => {
            let turns = turns(session.size(400, 10));
            take_turns(session, workerd, turns, async |place| echo::Echo::open(place, name, 1).await).await
        }
        Workload::EchoWindow => {
            let turns = turns(session.size(500, 64));
            take_turns(session, workerd, turns, async |place| echo::Echo::open(place, name, 32).await).await
        }
        Workload::Add => {
            let turns = turns(session.size(40, 5));
            take_turns(session, workerd, turns, async |place| echo::Add::open(place, name).await).await
        }
        Workload::Broadcast100x64 => broadcast(session, workerd, turns(session.size(10, 2)), 100, 64).await,
        Workload::Broadcast100x8k => broadcast(session, workerd, turns(session.size(8, 2)), 100, 8_192).await,
        Workload::Broadcast1000x64 => {
            broadcast(session, workerd, Turns { slices: few, ..turns(session.size(2, 1)) }, 1_000, 64).await
        }
        Workload::Broadcast1000x8k => {
            broadcast(session, workerd, Turns { slices: few, ..turns(session.size(2, 1)) }, 1_000, 8_192).await
        }
        Workload::Send => {
            let (calls, each) = (session.size(500, 10), session.size(500, 5));
            take_turns(session, workerd, turns(calls), async |place| calls::Calls::open(place, name, each).await).await
        }
        Workload::Rooms => {
            let rooms = session.size(50, 3);
            let turns = Turns { warm_up: rooms, ..turns(rooms * session.size(5, 2)) };
            let open = async |place| rooms::Rooms::open(place, name, rooms as usize, 4).await;
            take_turns(session, workerd, turns, open).await
        }
        Workload::Churn => {
            let turns = turns(session.size(30, 2));
            take_turns(session, workerd, turns, async |place| Ok(churn::Churn::open(place, name))).await
        }
        Workload::Batch => batch(session, workerd, turns(session.size(2_000, 40))).await,
        Workload::Acknowledge => {
            let turns = Turns { variants: NUMBERED, ..turns(session.size(400, 10)) };
            take_turns(session, workerd, turns, async |place| acknowledge::Echo::open(place, name).await).await
        }
        Workload::AcknowledgeAdd => {
            let turns = Turns { variants: NUMBERED, ..turns(session.size(200, 5)) };
            take_turns(session, workerd, turns, async |place| acknowledge::Add::open(place, name).await).await
        }
        Workload::Cold => cold::run(session, name, VARIANTS, rounds).await,
        Workload::Size => sizes(session),
        // Each build takes some ten seconds.
        Workload::Rebuild if session.options.quick => Ok(()),
        Workload::Rebuild => {
            session.findings.rebuilds = rebuild::measure()?;
            Ok(())
        }
        Workload::Engine => {
            session.findings.engine = engine::read()?;
            Ok(())
        }
        Workload::Wake10 | Workload::Wake1000 | Workload::Wake10000 => Ok(()),
    }
}

async fn broadcast(session: &mut Session, workerd: &Workerd, turns: Turns<'_>, peers: u64, bytes: usize) -> Result<()> {
    let peers = session.size(peers, peers / 20) as usize;
    let open = async |place| broadcast::Broadcast::open(place, turns.workload, peers, bytes).await;
    take_turns(session, workerd, turns, open).await
}

async fn batch(session: &mut Session, workerd: &Workerd, turns: Turns<'_>) -> Result<()> {
    let mut variants = vec![Variant::Bare, Variant::BareAgain, Variant::Ours];
    let batched = session.options.variants(&[Variant::Batched]);
    for variant in batched {
        let place = Place { variant, address: workerd.address(variant.worker())? };
        if batch::is_offered(place).await.context("asking for batches")? {
            variants.push(variant);
        } else {
            let note = format!("`batch` of `{variant}`: the room does not select `{}`.", batch::SUBPROTOCOL);
            session.findings.notes.push(note);
        }
    }
    let peers = session.size(100, 5) as usize;
    // The clock paces a block, and it sends two hundred thousand frames: it is not cut into slices, and has fewer
    // rounds.
    let (warm_up, rounds) = (turns.messages / 10, turns.rounds.min(5));
    let turns = Turns { variants: &variants, warm_up, slices: 1, rounds, ..turns };
    take_turns(session, workerd, turns, async |place| batch::Batch::open(place, turns.workload, peers).await).await
}

fn sizes(session: &mut Session) -> Result<()> {
    for worker in session.options.workers.iter().copied().filter(|worker| worker.has_wasm()) {
        session.findings.sizes.push(Size::of(worker.name(), &files::wasm(worker))?);
    }
    // The example is smaller than the other rooms; it is listed only if it was built.
    let counter = files::repository().join("examples/counter/build/index_bg.wasm");
    if session.options.workers.contains(&Worker::Ours) && counter.is_file() {
        session.findings.sizes.push(Size::of("counter", &counter)?);
    }
    Ok(())
}
