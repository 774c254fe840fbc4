//! The first message after hibernation.
//!
//! workerd has removed the object from memory and kept the sockets, and must load the object again.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::time;

use crate::{
    findings::Memory,
    meter::{Cost, settle},
    peer::{Peer, Place},
    protocol::{Answer, Event, check, text},
    session::Session,
    stats::order,
    usage::{self, Cpu},
    variants::Variant,
    workerd::Workerd,
};

const TEXT: usize = 64;

/// The longest time until all objects are removed: workerd removes them after 10 s without work.
const PATIENCE: Duration = Duration::from_secs(40);

/// The interval between two checks of that.
const LOOK: Duration = Duration::from_millis(500);

/// The time for which the idle workerd is observed, to know its base cost.
const WATCHED: Duration = Duration::from_millis(300);

/// Rooms that hibernate and are woken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleepers {
    pub(crate) workload: &'static str,
    pub(crate) peers: usize,
    /// The number of rooms. One message is too little to measure, so workloads with few peers have several rooms.
    pub(crate) rooms: usize,
}

/// Measures one variant after the other, each on its own workerd.
///
/// The sockets of all variants would exceed the limit of a process, and the memory of a separate process belongs to one
/// variant. A quick run has few sockets and little time, so all rooms hibernate together.
pub(crate) async fn run(session: &mut Session, variants: &[Variant], sleepers: &[Sleepers]) -> Result<()> {
    let variants = session.options.variants(variants);
    for together in variants.chunks(if session.options.quick { variants.len() } else { 1 }) {
        let names: Vec<_> = together.iter().map(|variant| variant.name()).collect();
        let names = names.join(", ");
        session.progress(&format!("wake: {names}"));
        let workerd = session.workerd().await?;
        let rounds = rounds(session, together);
        let measured = wake(session, &workerd, together, sleepers, rounds).await;
        if let Err(error) = workerd.explain(measured) {
            session.failed(&error.context(format!("wake of {names} failed")));
        }
        workerd.stop().await?;
    }
    Ok(())
}

/// The number of rounds. A round is mostly waiting, so variants that only serve as a comparison have fewer.
fn rounds(session: &Session, variants: &[Variant]) -> usize {
    let most = session.options.rounds;
    match variants {
        [Variant::Ours] => most + 2,
        [Variant::Bare] => most.min(7),
        _ => most.min(5),
    }
}

async fn wake(
    session: &mut Session,
    workerd: &Workerd,
    variants: &[Variant],
    sleepers: &[Sleepers],
    rounds: usize,
) -> Result<()> {
    let pid = workerd.pid();
    let mut places = Vec::new();
    for &variant in variants {
        let place = Place { variant, address: workerd.address(variant.worker())? };
        // This loads the worker, so that later growth of the memory belongs to the peers.
        echo(&mut place.room("first").peer("first").await?, 0).await?;
        places.push(place);
    }
    settle(pid).await?;
    let empty_kib = usage::rss(pid)?;

    let mut beds = Vec::new();
    for place in places {
        for sleepers in sleepers {
            for number in 0..sleepers.rooms {
                let room = place.room(&format!("{}-{number}", sleepers.workload));
                let opening = room.peers(sleepers.peers).await;
                let mut peers = opening.with_context(|| format!("opening {}", sleepers.workload))?;
                for number in 0..3 {
                    echo(peers.first_mut().context("a room without peers")?, number).await?;
                }
                beds.push((place.variant, sleepers.workload, peers));
            }
        }
    }
    settle(pid).await?;
    let awake_kib = usage::rss(pid)?;
    let mut asleep_kib = Vec::new();

    for round in 0..rounds {
        fall_asleep(pid).await?;
        asleep_kib.push(usage::rss(pid)?);
        let idle = idle_rate(pid).await?;
        let mut costs: BTreeMap<_, Vec<Cost>> = BTreeMap::new();
        for index in order(round, beds.len()) {
            let (variant, workload, peers) = &mut beds[index];
            let waker = round % peers.len();
            let cost = woken(pid, &mut peers[waker], round as u64, idle).await;
            let cost = cost.with_context(|| format!("waking {workload} of {variant}"))?;
            costs.entry((*variant, *workload)).or_default().push(cost);
        }
        for ((variant, workload), costs) in costs {
            let messages = costs.len() as u64;
            let cost = costs.into_iter().reduce(Cost::and);
            session.findings.samples.extend(cost.map(|cost| cost.sample(workload, variant, round, messages)));
        }
    }
    if let [variant] = *variants {
        let peers = sleepers.iter().map(|it| it.peers * it.rooms).sum();
        asleep_kib.sort_unstable();
        let asleep_kib = asleep_kib.get(rounds / 2).copied().unwrap_or(awake_kib);
        session.findings.memory.push(Memory { variant, peers, empty_kib, awake_kib, asleep_kib });
    }
    Ok(())
}

async fn echo(peer: &mut Peer, number: u64) -> Result<()> {
    let text = text(TEXT, number);
    peer.send(Event::Echo { text: &text }.encode()?).await?;
    check(&peer.receive().await?, &Answer::Echo { user_id: peer.user().to_owned(), text })
}

/// The cost of one message to a hibernating room, less the base cost of workerd.
async fn woken(pid: u32, peer: &mut Peer, number: u64, idle: f64) -> Result<Cost> {
    let cpu = settle(pid).await?;
    let (load, begun) = (usage::own_cpu(), Instant::now());
    echo(peer, number).await?;
    let wall = begun.elapsed();
    let load = usage::own_cpu().saturating_sub(load);
    let used = settle(pid).await?.since(cpu);
    let cpu = used.saturating_sub(begun.elapsed().mul_f64(idle));
    Ok(Cost { cpu, wall, load, rss_kib: usage::rss(pid)? })
}

/// The share of a core that an idle workerd uses.
async fn idle_rate(pid: u32) -> Result<f64> {
    let (cpu, begun) = (Cpu::of(pid)?, Instant::now());
    time::sleep(WATCHED).await;
    Ok(Cpu::of(pid)?.since(cpu).as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// Waits until no object is in memory.
async fn fall_asleep(pid: u32) -> Result<()> {
    let begun = Instant::now();
    while !asleep(pid)? {
        if begun.elapsed() > PATIENCE {
            bail!("waited {PATIENCE:?} for workerd to remove the objects that do nothing");
        }
        time::sleep(LOOK).await;
    }
    // The work after a removal ends soon.
    time::sleep(LOOK).await;
    settle(pid).await?;
    Ok(())
}

/// True if no object is in memory: each loaded object keeps its database open.
fn asleep(pid: u32) -> Result<bool> {
    let folder = format!("/proc/{pid}/fd");
    for file in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A file that is closed meanwhile counts as not open.
        let Ok(target) = fs::read_link(file?.path()) else { continue };
        if target.extension().is_some_and(|it| it == "sqlite") && !target.ends_with("metadata.sqlite") {
            return Ok(false);
        }
    }
    Ok(true)
}
