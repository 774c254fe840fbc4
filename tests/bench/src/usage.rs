//! The resource usage of a process: its CPU time and its memory.

use std::{fs, io, time::Duration};

use anyhow::{Context, Result};
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// The CPU time so far, user and system, of all threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// The scheduler's sum over the live threads: exact, but without the time of ended threads.
    fine: Option<Duration>,
    /// The time of the process: complete, but in ticks of 10 ms.
    coarse: Duration,
    tick: Duration,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Cpu> {
        let tick = Duration::from_secs(1) / u32::try_from(clock_ticks_per_second()).unwrap_or(100);
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: workerd ended?"))?;
        let ticks = parse_stat(&stat).with_context(|| format!("cannot read {path}: {stat:?}"))?;
        Ok(Cpu { fine: threads(pid).ok(), coarse: tick * ticks, tick })
    }

    /// The CPU time between `earlier` and this.
    pub(crate) fn since(self, earlier: Cpu) -> Duration {
        let coarse = self.coarse.saturating_sub(earlier.coarse);
        match (self.fine, earlier.fine) {
            (Some(later), Some(earlier)) => {
                let fine = later.saturating_sub(earlier);
                // The difference exceeds rounding, so a thread has ended in between.
                if coarse > fine + 3 * self.tick { coarse } else { fine }
            }
            _ => coarse,
        }
    }

    /// The CPU time since the start of the process.
    pub(crate) fn total(self) -> Duration {
        self.since(Cpu { fine: self.fine.map(|_| Duration::ZERO), coarse: Duration::ZERO, tick: self.tick })
    }
}

/// The CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The memory of a process, in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: workerd ended?"))?;
    parse_rss(&status).with_context(|| format!("{path} has no VmRSS"))
}

fn threads(pid: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the read.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += parse_schedstat(&text).ok_or_else(|| io::Error::other("not a schedstat"))?;
    }
    match sum {
        0 => Err(io::Error::other("the kernel keeps no schedstat")),
        sum => Ok(Duration::from_nanos(sum)),
    }
}

/// The nanoseconds on the CPU.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The ticks in user and in system mode.
fn parse_stat(text: &str) -> Option<u32> {
    // The second field is the program's name in parentheses, and may contain any character.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(parse_schedstat("80450696 136535445 100\n"), Some(80_450_696));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 99 0 0 0 31 11 0 0 20 0 4 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(42));
        assert_eq!(parse_rss("Name:\tworkerd\nVmRSS:\t  81234 kB\n"), Some(81_234));
    }

    #[test]
    fn a_thread_that_ended_is_not_lost() {
        let tick = Duration::from_millis(10);
        let at =
            |fine, coarse| Cpu { fine: Some(Duration::from_millis(fine)), coarse: Duration::from_millis(coarse), tick };
        assert_eq!(at(155, 150).since(at(52, 50)), Duration::from_millis(103));
        assert_eq!(at(80, 250).since(at(52, 50)), Duration::from_millis(200));
        assert_eq!(at(20, 250).since(at(52, 50)), Duration::from_millis(200));
    }

    #[test]
    fn our_own_process_is_measured() {
        let before = Cpu::of(std::process::id()).expect("this process");
        assert!(before.total() > Duration::ZERO);
        assert!(own_cpu() > Duration::ZERO);
        assert!(rss(std::process::id()).expect("this process") > 0);
    }
}
