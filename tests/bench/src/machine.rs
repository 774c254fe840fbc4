//! Describes the machine of a run.

use std::{fmt, fs, process::Command, thread};

use anyhow::{Context, Result};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// The measured tool and its version: workerd or rustc.
    pub(crate) tool: String,
    /// The average number of processes that wanted a core in the minute before.
    pub(crate) load_average: Option<f64>,
}

impl Machine {
    /// Reads the machine's description; `tool` is the measured program.
    pub(crate) fn look(tool: &mut Command) -> Result<Machine> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let name = tool.get_program().to_string_lossy().into_owned();
        let version = tool.arg("--version").output().with_context(|| format!("cannot run {name}"))?;
        Ok(Machine {
            cpu: cpu.map_or("an unknown CPU", |(_, name)| name.trim()).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            tool: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            load_average: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, tool, load_average } = self;
        write!(f, "Measured on {cpu}, {cores} cores, Linux {kernel}, {tool}")?;
        match load_average {
            Some(load) => write!(f, "; {load:.2} processes wanted a core when it began."),
            None => write!(f, "."),
        }
    }
}

/// Pins this process and its children to one core.
///
/// Otherwise the other core falls asleep between two messages, and workerd is charged for waking it: about twice the
/// cost of the message, the same in every variant.
pub(crate) fn keep_to_one_core() {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    if let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)) {
        let mut one = CpuSet::new();
        one.set(last);
        // If the system refuses, `bare-again` shows the effect on the figures.
        let _ = sched_setaffinity(None, &one);
    }
}

/// Raises the limit of open files to its maximum, for this process and its children, and returns it.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // If the system refuses, the old limit remains.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}
