//! The findings of a run.

use serde::Serialize;

use crate::{engine::Event, meter::Sample, rebuild::Rebuild, sizes::Size, variants::Variant};

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) samples: Vec<Sample>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) rebuilds: Vec<Rebuild>,
    pub(crate) engine: Vec<Event>,
    /// Notes about failed measurements.
    pub(crate) notes: Vec<String>,
}

/// workerd's memory with the peers of the `wake` workloads, in KiB.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) variant: Variant,
    pub(crate) peers: usize,
    pub(crate) empty_kib: u64,
    pub(crate) awake_kib: u64,
    pub(crate) asleep_kib: u64,
}

impl Memory {
    /// The memory that one peer adds to a loaded and to a hibernating object.
    pub(crate) fn each(&self) -> [f64; 2] {
        [self.awake_kib, self.asleep_kib]
            .map(|kib| kib.saturating_sub(self.empty_kib) as f64 / self.peers.max(1) as f64)
    }
}

impl Findings {
    /// The measured workloads, in their order.
    pub(crate) fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !names.contains(&&*sample.workload) {
                names.push(&sample.workload);
            }
        }
        names
    }

    pub(crate) fn size(&self, name: &str) -> Option<&Size> {
        self.sizes.iter().find(|size| size.name == name)
    }
}
