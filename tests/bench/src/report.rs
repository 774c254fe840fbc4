//! Formats the result as tables.

use std::fmt::Write;

use crate::{
    findings::Findings,
    machine::Machine,
    meter::Sample,
    rebuild,
    stats::{Spread, ratio, spread},
    table::Table,
    targets::{Limit, verdicts},
    variants::Variant,
};

/// All findings as Markdown.
pub(crate) fn report(findings: &Findings, machine: &Machine) -> String {
    let mut sections = vec![(machine.to_string(), None)];
    let mut table = |title: &str, table: Table| {
        if !table.is_empty() {
            sections.push((title.to_owned(), Some(table)));
        }
    };
    table(
        "workerd's time on the CPU for one message, in µs (median over the rounds):",
        costs(findings, |it| it.cpu_us),
    );
    table("Ratios of that within the same round, median (quartiles); the last column is noise:", ratios(findings));
    table("The project's targets:", targets(findings));
    table("The time of one message by the clock, in µs (median):", costs(findings, |it| it.wall_us));
    table("The load generator's time on the CPU for one message, in µs (median):", costs(findings, |it| it.load_us));
    table(
        "The load generator's share of a core, in % (median):",
        costs(findings, |it| it.load_us / it.wall_us * 100.0),
    );
    table("Memory of a workerd with one worker after its first message, in MiB (median of `cold`):", cold(findings));
    table("Memory that a peer takes, in KiB (`wake`):", memory(findings));
    table("WebAssembly, in KiB:", sizes(findings));
    table("A build after an edit in a handler, in s:", rebuilds(findings));
    table("The engine alone, natively, by criterion:", engine(findings));

    let mut text = String::new();
    for (title, table) in sections {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{title}\n");
        if let Some(table) = table {
            let _ = writeln!(text, "{table}");
        }
    }
    for note in &findings.notes {
        let _ = writeln!(text, "- {note}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A table with a row for each workload, and a column for each variant that has a figure.
fn costs(findings: &Findings, figure: fn(&Sample) -> f64) -> Table {
    let measured = |variant: &Variant| findings.samples.iter().any(|sample| sample.variant == *variant);
    let variants: Vec<_> = Variant::ALL.into_iter().filter(measured).collect();
    let mut table = Table::new(["workload"].into_iter().chain(variants.iter().map(|variant| variant.name())));
    for workload in findings.workloads() {
        let cells = variants.iter().map(|&variant| {
            let found = spread(&findings.samples, (workload, variant), figure);
            found.map_or(NOTHING.into(), |spread| digits(spread.median))
        });
        table.row([workload.to_owned()].into_iter().chain(cells));
    }
    table
}

fn ratios(findings: &Findings) -> Table {
    let mut pairs = vec![
        (Variant::Ours, Variant::Bare),
        (Variant::Ours, Variant::Partyserver),
        (Variant::Ours, Variant::Plain),
        (Variant::Batched, Variant::Bare),
        (Variant::BareAgain, Variant::Bare),
    ];
    let of = |workload, (over, under)| ratio(&findings.samples, (workload, over), (workload, under));
    let workloads = findings.workloads();
    pairs.retain(|pair| workloads.iter().any(|workload| of(workload, *pair).is_some()));
    let head = pairs.iter().map(|(over, under)| format!("{over} / {under}"));
    let mut table = Table::new(["workload".to_owned()].into_iter().chain(head));
    for workload in workloads {
        let cells: Vec<_> = pairs.iter().map(|pair| of(workload, *pair)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.map_or(NOTHING.into(), times));
            table.row([workload.to_owned()].into_iter().chain(cells));
        }
    }
    table
}

fn targets(findings: &Findings) -> Table {
    let mut table = Table::new(["", "target", "found", ""]);
    for verdict in verdicts(findings) {
        let limit = match verdict.limit {
            Limit::AtMost(limit) => format!("≤ {limit:.2}"),
            Limit::LessThan(limit) => format!("< {limit:.2}"),
        };
        let met = if verdict.limit.is_met(verdict.ratio.median) { "met" } else { "missed" };
        table.row([verdict.what, limit, times(verdict.ratio), met.to_owned()]);
    }
    table
}

fn cold(findings: &Findings) -> Table {
    let mut table = Table::new(["variant", "memory"]);
    for variant in Variant::ALL {
        if let Some(spread) = spread(&findings.samples, ("cold", variant), |sample| sample.rss_kib as f64 / 1_024.0) {
            table.row([variant.to_string(), digits(spread.median)]);
        }
    }
    table
}

fn memory(findings: &Findings) -> Table {
    let mut table = Table::new(["variant", "peers", "awake", "asleep"]);
    for memory in &findings.memory {
        let [awake, asleep] = memory.each().map(digits);
        table.row([memory.variant.to_string(), memory.peers.to_string(), awake, asleep]);
    }
    table
}

fn sizes(findings: &Findings) -> Table {
    let mut table = Table::new(["worker", "raw", "gzipped"]);
    for size in &findings.sizes {
        let [raw, gzipped] = [size.bytes, size.gzipped].map(|bytes| format!("{:.1}", bytes as f64 / 1_024.0));
        table.row([size.name.clone(), raw, gzipped]);
    }
    table
}

fn rebuilds(findings: &Findings) -> Table {
    let mut table = Table::new(["room", "build"]);
    for variant in Variant::ALL {
        if let Some(spread) = rebuild::spread(&findings.rebuilds, variant) {
            table.row([variant.to_string(), digits(spread.median)]);
        }
    }
    table
}

fn engine(findings: &Findings) -> Table {
    let mut table = Table::new(["event", "time, in ns", "events a second"]);
    for event in &findings.engine {
        let a_second = format!("{:.2} million", 1e3 / event.nanoseconds);
        table.row([event.name.clone(), digits(event.nanoseconds), a_second]);
    }
    table
}

pub(crate) const NOTHING: &str = "–";

pub(crate) fn times(Spread { median, low, high, count }: Spread) -> String {
    match count {
        1 => format!("{median:.2}"),
        _ => format!("{median:.2} ({low:.2}–{high:.2})"),
    }
}

/// Formats a figure with three significant digits.
pub(crate) fn digits(figure: f64) -> String {
    match figure {
        ..10.0 => format!("{figure:.2}"),
        ..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Size;

    #[test]
    fn the_smallest_report() {
        let mut findings = Findings::default();
        for (variant, cpu_us) in [(Variant::Bare, 20.0), (Variant::Ours, 25.0)] {
            let workload = "echo".to_owned();
            let sample =
                Sample { workload, variant, round: 0, messages: 9, cpu_us, wall_us: 100.0, load_us: 5.0, rss_kib: 0 };
            findings.samples.push(sample);
        }
        findings.sizes.push(Size { name: "ours".into(), bytes: 2_048, gzipped: 1_024 });
        findings.notes.push("Nothing else.".into());
        let machine = Machine {
            cpu: "A CPU".into(),
            cores: 2,
            kernel: "6.1".into(),
            tool: "workerd 1".into(),
            load_average: Some(1.5),
        };
        let expected = "\
Measured on A CPU, 2 cores, Linux 6.1, workerd 1; 1.50 processes wanted a core when it began.

workerd's time on the CPU for one message, in µs (median over the rounds):

| workload | bare | ours |
| -------- | ---: | ---: |
| echo     | 20.0 | 25.0 |

Ratios of that within the same round, median (quartiles); the last column is noise:

| workload | ours / bare |
| -------- | ----------: |
| echo     |        1.25 |

The project's targets:

|                   | target | found |        |
| ----------------- | -----: | ----: | -----: |
| echo: ours / bare | ≤ 1.15 |  1.25 | missed |
";
        let text = report(&findings, &machine);
        assert!(text.starts_with(expected), "{text}");
        let end = "\
WebAssembly, in KiB:

| worker | raw | gzipped |
| ------ | --: | ------: |
| ours   | 2.0 |     1.0 |

- Nothing else.
";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.123, 9.876, 12.34, 123.4, 12_345.6].map(digits), ["0.12", "9.88", "12.3", "123", "12346"]);
    }
}
