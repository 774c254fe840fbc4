//! One measurement: the cost of a block of messages.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::time;

use crate::{
    usage::{self, Cpu},
    variants::Variant,
    workerd::Workerd,
};

/// The cost of a block, for one message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) workload: String,
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    pub(crate) messages: u64,
    /// The CPU time of workerd, in µs for one message.
    pub(crate) cpu_us: f64,
    /// The wall time, in µs for one message.
    pub(crate) wall_us: f64,
    /// The CPU time of the load generator, in µs for one message.
    pub(crate) load_us: f64,
    /// The memory of workerd at the end of the block, in KiB.
    pub(crate) rss_kib: u64,
}

/// The cost of a block, not yet divided by its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) load: Duration,
    pub(crate) rss_kib: u64,
}

impl Cost {
    /// The sum of both.
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

/// A started measurement.
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

    /// Ends the measurement once the work after the last answer is done. That work counts as CPU time, but not as wall
    /// time.
    pub(crate) async fn stop(self) -> Result<Cost> {
        let wall = self.begun.elapsed();
        let load = usage::own_cpu().saturating_sub(self.load);
        let cpu = settle(self.pid).await?.since(self.cpu);
        Ok(Cost { cpu, wall, load, rss_kib: usage::rss(self.pid)? })
    }
}

/// Waits until a process is idle, for at most one second.
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
