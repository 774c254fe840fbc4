//! The limits that this project sets for the cost of a room.

use crate::{
    findings::Findings,
    rebuild,
    stats::{Spread, Subject, ratio},
    variants::Variant,
};

/// The limit of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    LessThan(f64),
}

impl Limit {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Limit::AtMost(limit) => ratio <= limit,
            Limit::LessThan(limit) => ratio < limit,
        }
    }
}

/// A limit, and the measured value.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) limit: Limit,
    pub(crate) ratio: Spread,
}

/// The limits of CPU time: a subject, the subject to compare with, and the limit of their ratio.
const TIMES: &[(Subject<'_>, Subject<'_>, Limit)] = {
    use Limit::{AtMost, LessThan};
    use Variant::{Acknowledged, Bare, Batched, Ours, Partyserver, Plain, Unnumbered};
    &[
        (("echo", Ours), ("echo", Bare), AtMost(1.15)),
        (("echo", Ours), ("echo", Partyserver), AtMost(1.0)),
        (("echo", Ours), ("echo", Plain), AtMost(0.8)),
        (("add", Ours), ("add", Bare), AtMost(1.15)),
        (("broadcast-100-64", Ours), ("broadcast-100-64", Bare), AtMost(1.0)),
        (("broadcast-100-64", Ours), ("broadcast-100-64", Partyserver), LessThan(1.0)),
        (("broadcast-100-64", Ours), ("broadcast-100-64", Plain), LessThan(1.0)),
        (("broadcast-100-8k", Ours), ("broadcast-100-8k", Bare), AtMost(1.0)),
        (("broadcast-100-8k", Ours), ("broadcast-100-8k", Partyserver), LessThan(1.0)),
        (("broadcast-100-8k", Ours), ("broadcast-100-8k", Plain), LessThan(1.0)),
        (("broadcast-1000-64", Ours), ("broadcast-1000-64", Bare), AtMost(1.0)),
        (("broadcast-1000-64", Ours), ("broadcast-1000-64", Partyserver), LessThan(1.0)),
        (("broadcast-1000-64", Ours), ("broadcast-1000-64", Plain), LessThan(1.0)),
        (("broadcast-1000-8k", Ours), ("broadcast-1000-8k", Bare), AtMost(1.0)),
        (("broadcast-1000-8k", Ours), ("broadcast-1000-8k", Partyserver), LessThan(1.0)),
        (("broadcast-1000-8k", Ours), ("broadcast-1000-8k", Plain), LessThan(1.0)),
        (("send", Ours), ("send", Bare), AtMost(1.3)),
        (("batch", Batched), ("batch", Bare), AtMost(0.25)),
        (("acknowledge-echo", Acknowledged), ("acknowledge-echo", Unnumbered), AtMost(1.25)),
        (("acknowledge-add", Acknowledged), ("acknowledge-add", Unnumbered), AtMost(1.25)),
        (("wake-10000", Ours), ("wake-10", Ours), AtMost(1.2)),
    ]
};

/// The limits of compressed upload sizes.
const SIZES: &[(&str, &str, Limit)] =
    &[("ours", "plain", Limit::AtMost(1.25)), ("counter", "plain", Limit::AtMost(1.25))];

/// The verdicts for all limits that have figures.
pub(crate) fn verdicts(findings: &Findings) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for &(over, under, limit) in TIMES {
        let Some(ratio) = ratio(&findings.samples, over, under) else { continue };
        let what = match over.0 == under.0 {
            true => format!("{}: {} / {}", over.0, over.1, under.1),
            false => format!("{}: {} / {}", over.1, over.0, under.0),
        };
        verdicts.push(Verdict { what, limit, ratio });
    }
    for &(over, under, limit) in SIZES {
        let (Some(above), Some(below)) = (findings.size(over), findings.size(under)) else { continue };
        let Some(ratio) = Spread::of([above.gzipped as f64 / below.gzipped as f64]) else { continue };
        verdicts.push(Verdict { what: format!("size: {over} / {under}"), limit, ratio });
    }
    if let Some(ratio) = rebuild::ratio(&findings.rebuilds) {
        verdicts.push(Verdict { what: "rebuild: ours / plain".to_owned(), limit: Limit::AtMost(1.3), ratio });
    }
    let echo = findings.engine.iter().find(|event| event.name == "echo");
    if let Some(ratio) = echo.and_then(|event| Spread::of([event.nanoseconds / 1_000.0])) {
        verdicts.push(Verdict { what: "engine: one echo / 1 µs".to_owned(), limit: Limit::AtMost(1.0), ratio });
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sizes::Size, workloads::Workload};

    #[test]
    fn a_limit_is_met_or_not() {
        assert!(Limit::AtMost(1.0).is_met(1.0));
        assert!(!Limit::AtMost(1.0).is_met(1.01));
        assert!(!Limit::LessThan(1.0).is_met(1.0));
        assert!(Limit::LessThan(1.0).is_met(0.99));
    }

    #[test]
    fn every_target_is_of_a_workload() {
        for (over, under, _) in TIMES {
            for (workload, _) in [over, under] {
                assert!(Workload::ALL.iter().any(|it| it.name() == *workload), "{workload}");
            }
        }
    }

    #[test]
    fn a_target_without_a_measurement_has_no_verdict() {
        let mut findings = Findings::default();
        assert!(verdicts(&findings).is_empty());
        let size = |name: &str, gzipped| Size { name: name.into(), bytes: 0, gzipped };
        findings.sizes = vec![size("plain", 100), size("ours", 130)];
        let verdicts = verdicts(&findings);
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].what, "size: ours / plain");
        assert!(!verdicts[0].limit.is_met(verdicts[0].ratio.median));
    }
}
