//! Medians, and ratios of measurements in the same round.

use serde::Serialize;

use crate::{meter::Sample, variants::Variant};

/// The median of several figures, and their quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The lower quartile.
    pub(crate) low: f64,
    /// The upper quartile.
    pub(crate) high: f64,
    pub(crate) count: usize,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        Some(Spread {
            median: quantile(&figures, 0.5)?,
            low: quantile(&figures, 0.25)?,
            high: quantile(&figures, 0.75)?,
            count: figures.len(),
        })
    }
}

/// A quantile of sorted figures, interpolated between two of them.
fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = at * last as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    Some(below + (above - below) * position.fract())
}

/// The subject of a comparison: a variant in a workload.
pub(crate) type Subject<'a> = (&'a str, Variant);

/// The spread of one figure of a subject over the rounds.
pub(crate) fn spread(
    samples: &[Sample],
    (workload, variant): Subject<'_>,
    figure: fn(&Sample) -> f64,
) -> Option<Spread> {
    Spread::of(samples.iter().filter(|sample| sample.workload == workload && sample.variant == variant).map(figure))
}

/// The spread of the ratios of two subjects' workerd CPU times, each in the same round. The speed of the machine
/// differs between rounds, but is nearly constant within one.
pub(crate) fn ratio(samples: &[Sample], over: Subject<'_>, under: Subject<'_>) -> Option<Spread> {
    let of = |(workload, variant): Subject<'_>, round| {
        let mut found = samples.iter().filter(|sample| sample.workload == workload && sample.variant == variant);
        found.find(|sample| sample.round == round).map(|sample| sample.cpu_us)
    };
    let rounds = samples.iter().map(|sample| sample.round).max()? + 1;
    Spread::of((0..rounds).filter_map(|round| Some(of(over, round)? / of(under, round)?)))
}

/// The order of `count` variants in a round. Each is first in turn, and the direction alternates, so that neither the
/// position nor the neighbours of a variant are constant.
pub(crate) fn order(round: usize, count: usize) -> Vec<usize> {
    let rotated = (0..count).map(|place| (place + round / 2) % count);
    if round.is_multiple_of(2) { rotated.collect() } else { rotated.rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(workload: &str, variant: Variant, round: usize, cpu_us: f64) -> Sample {
        let workload = workload.to_owned();
        Sample { workload, variant, round, messages: 1, cpu_us, wall_us: 0.0, load_us: 0.0, rss_kib: 0 }
    }

    #[test]
    fn quartiles() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[2.0]), Some(Spread { median: 2.0, low: 2.0, high: 2.0, count: 1 }));
        let five = Spread { median: 3.0, low: 2.0, high: 4.0, count: 5 };
        assert_eq!(spread(&[5.0, 3.0, 1.0, 4.0, 2.0]), Some(five));
        let two = Spread { median: 1.5, low: 1.25, high: 1.75, count: 2 };
        assert_eq!(spread(&[2.0, 1.0]), Some(two));
        assert_eq!(spread(&[2.0, f64::NAN]).map(|spread| spread.count), Some(1));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let samples = [
            sample("echo", Variant::Bare, 0, 10.0),
            sample("echo", Variant::Ours, 0, 11.0),
            sample("echo", Variant::Ours, 1, 22.0),
            sample("echo", Variant::Bare, 1, 20.0),
            // A sample without a counterpart.
            sample("echo", Variant::Ours, 2, 99.0),
            sample("add", Variant::Bare, 2, 1.0),
        ];
        let ratio = |over, under| ratio(&samples, over, under);
        let ours = ratio(("echo", Variant::Ours), ("echo", Variant::Bare)).expect("two rounds");
        assert!((ours.median - 1.1).abs() < 1e-9, "{ours:?}");
        assert_eq!(ours.count, 2);
        assert_eq!(ratio(("echo", Variant::Plain), ("echo", Variant::Bare)), None);
        let across = ratio(("echo", Variant::Ours), ("add", Variant::Bare)).expect("one round");
        assert_eq!((across.median, across.count), (99.0, 1));
    }

    #[test]
    fn each_variant_is_first_and_last_in_turn() {
        let rounds: Vec<_> = (0..6).map(|round| order(round, 3)).collect();
        assert_eq!(rounds, [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1], [1, 0, 2]]);
        assert!(order(3, 0).is_empty());
    }
}
