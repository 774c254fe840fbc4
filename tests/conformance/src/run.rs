//! Runs the cases.

use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, anyhow};
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, FuturesUnordered},
};
use tokio::task::LocalSet;

use crate::{
    cases::{self, About, Case, Run},
    harness::{Platform, Scope, StayedAwake, verify_naps},
    memory::Memory,
    workerd::{Host, Workerd},
};

/// The number of attempts for a case whose room did not hibernate as intended.
const TRIES: u32 = 3;

/// The number of failed cases that get a second attempt with nothing beside them. If more fail, the machine is not at
/// fault.
const SECOND_ATTEMPTS: usize = 5;

/// The number of processes for cases that need one for themselves. Each runs its cases one after the other. Most of them
/// wait for a hibernation or an alarm, so that several at a time take less time. Each start of a process takes seconds of the
/// CPU, so that with more of them a small machine delays the timers of the rooms.
const SPARE_HOSTS: usize = 4;

/// The outcome of a case.
#[derive(Debug)]
enum Verdict {
    Passed,
    Failed(Error),
    /// The case is only for the other platform.
    NotHere(&'static str),
}

/// The numbers of cases that passed, failed, and do not run here.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The number of passed cases.
    pub passed: usize,
    /// The number of failed cases.
    pub failed: usize,
    /// The number of cases for the other platform only.
    pub not_here: usize,
    /// The names of the passed cases.
    pub names: HashSet<&'static str>,
    /// The names of the cases that failed beside others and passed alone.
    pub passed_alone: Vec<&'static str>,
}

impl Tally {
    fn count(&mut self, platform: Platform, name: &'static str, about: &About, verdict: &Verdict, took: Duration) {
        let (outcome, more) = match verdict {
            Verdict::Passed => ("ok", String::new()),
            Verdict::Failed(error) => ("FAILED", format!("\n{}", indented(&format!("{error:#}")))),
            Verdict::NotHere(reason) => ("-", format!(" (not here: {reason})")),
        };
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                self.names.insert(name);
            }
            Verdict::Failed(_) => self.failed += 1,
            Verdict::NotHere(_) => self.not_here += 1,
        }
        let promise = about.promise.to_string();
        let slow =
            if took > Duration::from_secs(1) { format!(" ({:.0} s)", took.as_secs_f64()) } else { String::new() };
        println!("{:<8} {outcome:<6} {promise:<22} {name}{slow}{more}", platform.name());
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("         {line}")).collect::<Vec<_>>().join("\n")
}

fn verdict_where_it_does_not_run(about: &About) -> Verdict {
    Verdict::NotHere(about.only.map_or("", |(_, reason)| reason))
}

/// Runs the cases whose name contains `filter` in memory.
///
/// Each runs once in the natural order of events, and once in another order for each of the `seeds`.
pub fn memory(filter: &str, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    for Case { name, about, run } in cases::memory().into_iter().filter(|case| case.name.contains(filter)) {
        let started = Instant::now();
        let verdict = match run {
            None => verdict_where_it_does_not_run(&about),
            Some(run) => match in_memory_with_seeds(name, run, seeds) {
                Ok(()) => Verdict::Passed,
                Err(error) => Verdict::Failed(error),
            },
        };
        tally.count(Platform::Memory, name, &about, &verdict, started.elapsed());
    }
    tally
}

fn in_memory_with_seeds(name: &'static str, run: Run<Memory>, seeds: u64) -> Result<()> {
    in_memory(name, run, None)?;
    (1..=seeds).try_for_each(|seed| in_memory(name, run, Some(seed)).with_context(|| format!("with seed {seed}")))
}

fn in_memory(name: &'static str, run: Run<Memory>, seed: Option<u64>) -> Result<()> {
    thread_local! {
        static RUNS: RefCell<u64> = const { RefCell::new(0) };
    }
    let number = RUNS.with_borrow_mut(|runs| {
        *runs += 1;
        *runs
    });
    let harness = Memory::new(Scope::new(format!("{name}.{number}")), seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        harness.run(async {
            run(harness.clone()).await?;
            verify_naps(&harness).await
        })
    }));
    outcome.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    anyhow!("the case panicked: {}", text.unwrap_or("it did not say why"))
}

/// Runs one case in memory, for `#[test]`s.
///
/// # Errors
/// Fails if the case fails.
pub fn one_in_memory(name: &str, seeds: u64) -> Result<()> {
    let case = cases::memory().into_iter().find(|case| case.name == name).context("there is no such case")?;
    match case.run {
        Some(run) => in_memory_with_seeds(case.name, run, seeds),
        None => {
            println!("not in memory: {}", case.about.only.map_or("", |(_, reason)| reason));
            Ok(())
        }
    }
}

/// The number of cases that run at a time in the shared process. With more of them, a small machine delays the timers of
/// the rooms.
const AT_ONCE: usize = 60;

/// Runs the cases whose name contains `filter` on workerd.
///
/// Most cases run concurrently in one process. The cases that need a process for themselves share a few others.
///
/// # Errors
/// Fails if workerd does not start.
pub async fn workerd(filter: &str) -> Result<Tally> {
    let cases = cases::workerd().into_iter().filter(|case| case.name.contains(filter));
    LocalSet::new().run_until(run_all(cases.collect())).await
}

async fn run_all(cases: Vec<Case<Workerd>>) -> Result<Tally> {
    let mut tally = Tally::default();
    let (mut shared, mut alone) = (Vec::new(), VecDeque::new());
    for Case { name, about, run } in cases {
        match run {
            None => {
                let verdict = verdict_where_it_does_not_run(&about);
                tally.count(Platform::Workerd, name, &about, &verdict, Duration::ZERO);
            }
            Some(run) if about.alone.is_some() && about.first => alone.push_front((name, about, run)),
            Some(run) if about.alone.is_some() => alone.push_back((name, about, run)),
            Some(run) => shared.push((name, about, run)),
        }
    }
    let tally = Rc::new(RefCell::new(tally));
    let failed = Rc::default();
    let spare = alone.len().min(SPARE_HOSTS);
    let alone = Rc::new(RefCell::new(alone));
    let together = run_together(shared, tally.clone(), Rc::clone(&failed));
    let apart = async {
        let hosts: FuturesUnordered<_> =
            (0..spare).map(|_| run_one_by_one(alone.clone(), tally.clone(), Rc::clone(&failed))).collect();
        hosts.collect::<Vec<_>>().await.into_iter().collect::<Result<()>>()
    };
    let (together, apart) = futures_util::join!(together, apart);
    together?;
    apart?;
    run_again(failed.take(), &tally).await?;
    Ok(tally.take())
}

type Named = (&'static str, About, Run<Workerd>);
type Outcome = (Named, Verdict, Duration);

/// Keeps a failed case for its second attempt, and counts any other.
fn settle((case, verdict, took): Outcome, tally: &RefCell<Tally>, failed: &RefCell<Vec<Outcome>>) {
    let (name, about, _) = &case;
    match verdict {
        Verdict::Failed(_) => failed.borrow_mut().push((case, verdict, took)),
        _ => tally.borrow_mut().count(Platform::Workerd, name, about, &verdict, took),
    }
}

/// Runs failed cases once more, each in a process of its own with nothing beside it.
///
/// On a loaded machine a timer of a room can be late by seconds. The first failure is printed in any case.
async fn run_again(failed: Vec<Outcome>, tally: &RefCell<Tally>) -> Result<()> {
    let too_many = failed.len() > SECOND_ATTEMPTS;
    for (case, verdict, took) in failed {
        let (name, about, _) = &case;
        if too_many {
            tally.borrow_mut().count(Platform::Workerd, name, about, &verdict, took);
            continue;
        }
        if let Verdict::Failed(error) = &verdict {
            println!("{:<8} AGAIN  {name}\n{}", Platform::Workerd.name(), indented(&format!("{error:#}")));
        }
        let host = Host::start().await?;
        let ((name, about, _), verdict, took) = on_workerd(host.clone(), case).await;
        host.stop().await?;
        let mut tally = tally.borrow_mut();
        if matches!(verdict, Verdict::Passed) {
            tally.passed_alone.push(name);
        }
        tally.count(Platform::Workerd, name, &about, &verdict, took);
    }
    Ok(())
}

async fn run_together(cases: Vec<Named>, tally: Rc<RefCell<Tally>>, failed: Rc<RefCell<Vec<Outcome>>>) -> Result<()> {
    if cases.is_empty() {
        return Ok(());
    }
    let host = Host::start().await?;
    let cases = cases.into_iter().map(|case| on_workerd(host.clone(), case));
    let mut running = pin!(stream::iter(cases).buffer_unordered(AT_ONCE));
    while let Some(outcome) = running.next().await {
        settle(outcome, &tally, &failed);
    }
    host.stop().await
}

async fn run_one_by_one(
    cases: Rc<RefCell<VecDeque<Named>>>,
    tally: Rc<RefCell<Tally>>,
    failed: Rc<RefCell<Vec<Outcome>>>,
) -> Result<()> {
    let host = Host::start().await?;
    loop {
        let next = cases.borrow_mut().pop_front();
        let Some(case) = next else { break };
        settle(on_workerd(host.clone(), case).await, &tally, &failed);
    }
    host.stop().await
}

async fn on_workerd(host: Rc<Host>, (name, about, run): Named) -> Outcome {
    let started = Instant::now();
    let mut number = 1;
    let verdict = loop {
        let harness = Workerd::new(host.clone(), Scope::new(format!("{name}.{number}")));
        let trying = AssertUnwindSafe(async {
            let outcome = run(harness.clone()).await;
            match (verify_naps(&harness).await, outcome) {
                (Ok(()), outcome) => outcome,
                (Err(error), Ok(())) => Err(error),
                // A failure in a room that did not hibernate is inconclusive.
                (Err(error), Err(failed)) => Err(error.context(format!("{failed:#}"))),
            }
        });
        match trying.catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(()) => break Verdict::Passed,
            Err(error) if error.is::<StayedAwake>() && number < TRIES => number += 1,
            Err(error) => break Verdict::Failed(error),
        }
    };
    ((name, about, run), verdict, started.elapsed())
}
