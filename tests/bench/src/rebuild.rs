//! Measures the build time after an edit in a handler.

use std::{
    fs::File,
    process::Command,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::{
    files,
    stats::Spread,
    variants::{Variant, Worker},
};

const ROUNDS: usize = 5;

/// A build in which only the room itself had changed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rebuild {
    pub(crate) variant: Variant,
    pub(crate) round: usize,
    pub(crate) seconds: f64,
}

/// Builds the two rooms in turn. cargo compiles a source that is newer than its build as a whole, regardless of the
/// edit.
pub(crate) fn measure() -> Result<Vec<Rebuild>> {
    let variants = [(Variant::Plain, Worker::Plain), (Variant::Ours, Worker::Ours)];
    for (_, worker) in variants {
        build(worker)?;
    }
    let mut rebuilds = Vec::new();
    for round in 0..ROUNDS {
        for (variant, worker) in variants {
            let source = files::source(worker);
            let touched =
                File::options().append(true).open(&source).and_then(|file| file.set_modified(SystemTime::now()));
            touched.with_context(|| format!("cannot touch {}", source.display()))?;
            let start = Instant::now();
            build(worker)?;
            rebuilds.push(Rebuild { variant, round, seconds: start.elapsed().as_secs_f64() });
        }
    }
    Ok(rebuilds)
}

/// Compiles the worker in the way of worker-build.
fn build(worker: Worker) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--target", "wasm32-unknown-unknown", "--package"]);
    let status = cargo.arg(format!("bench-{worker}")).current_dir(files::repository()).status();
    if !status.context("cannot run cargo")?.success() {
        bail!("bench-{worker} was not built");
    }
    Ok(())
}

/// One variant's builds, in seconds.
pub(crate) fn spread(rebuilds: &[Rebuild], variant: Variant) -> Option<Spread> {
    Spread::of(rebuilds.iter().filter(|it| it.variant == variant).map(|it| it.seconds))
}

/// The ratio of ours to plain, round by round.
pub(crate) fn ratio(rebuilds: &[Rebuild]) -> Option<Spread> {
    let of = |variant, round| rebuilds.iter().find(|it| (it.variant, it.round) == (variant, round));
    let rounds = 0..rebuilds.len();
    Spread::of(rounds.filter_map(|round| Some(of(Variant::Ours, round)?.seconds / of(Variant::Plain, round)?.seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_compared_within_their_round() {
        let rebuild = |variant, round, seconds| Rebuild { variant, round, seconds };
        let rebuilds = [
            rebuild(Variant::Plain, 0, 10.0),
            rebuild(Variant::Ours, 0, 12.0),
            rebuild(Variant::Plain, 1, 20.0),
            rebuild(Variant::Ours, 1, 24.0),
        ];
        let found = ratio(&rebuilds).expect("two rounds");
        assert_eq!((found.median, found.count), (1.2, 2));
        assert!(ratio(&[]).is_none());
    }
}
