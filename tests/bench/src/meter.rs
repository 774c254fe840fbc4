//! One measurement: what a block of messages has cost.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::time;

use crate::{
    usage::{self, Cpu},
    variants::Variant,
    workerd::Workerd,
};

/// What a block has cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) workload: String,
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    pub(crate) messages: u64,
    /// workerd's time on the CPU, in µs for one message.
    pub(crate) cpu_us: f64,
    /// The clock's, in µs for one message.
    pub(crate) wall_us: f64,
    /// The load generator's time on the CPU, in µs for one message.
    pub(crate) load_us: f64,
    /// workerd's memory at the end of the block, in KiB.
    pub(crate) rss_kib: u64,
}

/// What a block has cost, not yet attributed to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) load: Duration,
    pub(crate) rss_kib: u64,
}

impl Cost {
    /// Both together.
    pub(crate) fn and(self, other: Cost) -> Cost {
        Cost {
            cpu: self.cpu + other.cpu,
            wall: self.wall + other.wall,
            load: self.load + other.load,
            rss_kib: self.rss_kib.max(other.rss_kib),
        }
    }

    pub(crate) fn sample(self, workload: &str, variant: Variant, round: usize, messages: u64) -> Sample {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / messages as f64;
        Sample {
            workload: workload.to_owned(),
            variant,
            round,
            messages,
            cpu_us: each(self.cpu),
            wall_us: each(self.wall),
            load_us: each(self.load),
            rss_kib: self.rss_kib,
        }
    }
}

/// A measurement that has begun.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: u32,
    cpu: Cpu,
    load: Duration,
    begun: Instant,
}

impl Meter {
    pub(crate) async fn start(workerd: &Workerd) -> Result<Meter> {
        let pid = workerd.pid();
        let cpu = settle(pid).await?;
        Ok(Meter { pid, cpu, load: usage::own_cpu(), begun: Instant::now() })
    }

    /// Ends when what is done behind the last answer is done too: that counts, but not on the clock.
    pub(crate) async fn stop(self) -> Result<Cost> {
        let wall = self.begun.elapsed();
        let load = usage::own_cpu().saturating_sub(self.load);
        let cpu = settle(self.pid).await?.since(self.cpu);
        Ok(Cost { cpu, wall, load, rss_kib: usage::rss(self.pid)? })
    }
}

/// Waits until a process does nothing, or for a second.
pub(crate) async fn settle(pid: u32) -> Result<Cpu> {
    const STEP: Duration = Duration::from_millis(2);
    const QUIET: Duration = Duration::from_micros(50);
    let mut last = Cpu::of(pid)?;
    for _ in 0..500 {
        time::sleep(STEP).await;
        let now = Cpu::of(pid)?;
        if now.since(last) < QUIET {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
