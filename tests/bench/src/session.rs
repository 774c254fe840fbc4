//! A run of the program: its options, its findings, and the turns of the variants.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use tempfile::TempDir;
use tokio::time;

use crate::{
    cli::Options,
    files,
    findings::Findings,
    meter::{Cost, Meter},
    peer::Place,
    stats::order,
    variants::{Variant, Worker},
    workerd::Workerd,
};

/// The longest duration of a slice. Most take about a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) findings: Findings,
    pub(crate) failures: usize,
    folder: TempDir,
    begun: Instant,
}

impl Session {
    pub(crate) fn new(options: Options) -> Result<Session> {
        let folder = files::prepare(&options.workers)?;
        Ok(Session { options, findings: Findings::default(), failures: 0, folder, begun: Instant::now() })
    }

    /// Starts a workerd with all the measured workers.
    pub(crate) async fn workerd(&self) -> Result<Workerd> {
        self.workerd_with(&self.options.workers).await
    }

    pub(crate) async fn workerd_with(&self, workers: &[Worker]) -> Result<Workerd> {
        Workerd::start(self.folder.path(), workers).await
    }

    /// Chooses between the size of a full and of a quick run.
    pub(crate) fn size(&self, full: u64, quick: u64) -> u64 {
        if self.options.quick { quick } else { full }
    }

    /// Notes a failed measurement. The run continues, because it takes too long to be lost.
    pub(crate) fn failed(&mut self, error: &Error) {
        let error = format!("{error:#}");
        eprintln!("error: {error}");
        self.findings.notes.push(error);
        self.failures += 1;
    }

    /// Prints the progress to standard error, because standard output is for the result.
    pub(crate) fn progress(&self, what: &str) {
        let seconds = self.begun.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {what}", seconds / 60, seconds % 60);
    }
}

/// The messages to one variant's rooms, repeated many times.
pub(crate) trait Load: Sized {
    /// Exchanges that many messages.
    async fn run(&mut self, messages: u64) -> Result<()>;
}

/// A workload in which every variant has its turn in every round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns<'a> {
    pub(crate) workload: &'a str,
    pub(crate) variants: &'a [Variant],
    /// The messages in a slice.
    pub(crate) messages: u64,
    /// The messages before each slice.
    pub(crate) warm_up: u64,
    /// The number of slices of a variant in a round. The variants take turns after each slice, because the load of the
    /// machine changes within a second, and so affects all variants alike.
    pub(crate) slices: usize,
    pub(crate) rounds: usize,
}

/// Opens the rooms of every variant, and measures each in turn.
pub(crate) async fn take_turns<L: Load>(
    session: &mut Session,
    workerd: &Workerd,
    turns: Turns<'_>,
    open: impl AsyncFn(Place) -> Result<L>,
) -> Result<()> {
    let Turns { workload, messages, slices, rounds, .. } = turns;
    let mut loads = Vec::new();
    for variant in session.options.variants(turns.variants) {
        let place = Place { variant, address: workerd.address(variant.worker())? };
        let load = open(place).await.with_context(|| format!("{workload} of {variant} cannot begin"))?;
        loads.push((variant, load));
    }
    // The first round does not count, because code is compiled at its first use.
    for round in 0..=rounds {
        let mut costs: Vec<Option<Cost>> = vec![None; loads.len()];
        for slice in 0..slices {
            for place in order(round * slices + slice, loads.len()) {
                let (variant, load) = &mut loads[place];
                let cost = measure(workerd, load, turns).await;
                let cost = cost.with_context(|| format!("{workload} of {variant} failed"))?;
                costs[place] = Some(costs[place].map_or(cost, |sum| sum.and(cost)));
            }
        }
        let Some(round) = round.checked_sub(1) else { continue };
        for ((variant, _), cost) in loads.iter().zip(costs) {
            let sample = cost.map(|cost| cost.sample(workload, *variant, round, messages * slices as u64));
            session.findings.samples.extend(sample);
        }
    }
    Ok(())
}

async fn measure(workerd: &Workerd, load: &mut impl Load, turns: Turns<'_>) -> Result<Cost> {
    let slice = time::timeout(PATIENCE, async {
        load.run(turns.warm_up).await.context("while it warmed up")?;
        let meter = Meter::start(workerd).await?;
        load.run(turns.messages).await?;
        meter.stop().await
    });
    slice.await.with_context(|| format!("waited {PATIENCE:?} for {} messages", turns.messages))?
}
