//! Formats the result as tables.

use std::fmt::Write;

use super::{Compilation, Findings, Step, VARIANTS, profile::Expansions};
use crate::{
    machine::Machine,
    report::{NOTHING, digits, times},
    stats::Spread,
    table::Table,
    variants::Variant,
};

/// A figure of a compilation: its title, and its value.
type Figure = (&'static str, fn(&Compilation) -> f64);

const CPU: Figure = ("Time on the CPU, in s", |it| it.cpu);
const WALL: Figure = ("Time by the clock, in s", |it| it.wall);
const MEMORY: Figure = ("The most memory that a process held, in MiB", |it| it.memory);

/// All findings as Markdown.
pub(super) fn report(findings: &Findings, machine: &Machine) -> String {
    let Findings { compilations, expansions } = findings;
    let mut text = format!("{machine}\n");
    let mut section = |title: &str, table: Table| {
        if !table.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\n{title}\n\n{table}");
        }
    };
    for (title, figure) in [CPU, WALL, MEMORY] {
        let title = format!("{title} (medians; ratios within the same round, median and quartiles):");
        section(&title, costs(compilations, figure));
    }
    section(
        "The cost of one more room, between the smallest crate and the largest (medians; ratios within the same round, median and \
         quartiles):",
        each(compilations),
    );
    section("The macro `#[room]` itself, in ms, in the largest crate (median and quartiles):", own(expansions));
    section("All procedural macros, for one room of that crate (medians):", macros(findings));
    text
}

fn costs(compilations: &[Compilation], figure: fn(&Compilation) -> f64) -> Table {
    let mut table = Table::new(["compilation", "plain", "ours", "ours / plain"]);
    for step in Step::ALL {
        for rooms in rooms(compilations) {
            let label = match (step, rooms) {
                (Step::Nothing, _) => step.name().to_owned(),
                (_, 1) => format!("{}, 1 room", step.name()),
                _ => format!("{}, {rooms} rooms", step.name()),
            };
            let of = |variant, round| find(compilations, step, variant, rooms, round).map(figure);
            row(&mut table, label, count(compilations), of);
        }
    }
    table
}

/// The cost of one more room: the cost difference of the largest and smallest crate, divided by their room difference.
fn each(compilations: &[Compilation]) -> Table {
    let mut table = Table::new(["one room", "plain", "ours", "ours / plain"]);
    let rooms = rooms(compilations);
    let (Some(&least), Some(&most)) = (rooms.first(), rooms.last()) else { return table };
    let milliseconds: fn(&Compilation) -> f64 = |it| it.cpu * 1e3;
    for step in [Step::Check, Step::Build] {
        for (what, figure) in [("ms on the CPU", milliseconds), ("MiB", MEMORY.1)] {
            let of = |variant, round| {
                let at = |rooms| find(compilations, step, variant, rooms, round).map(figure);
                (least < most).then_some((at(most)? - at(least)?) / (most - least) as f64)
            };
            row(&mut table, format!("{}, {what}", step.name()), count(compilations), of);
        }
    }
    table
}

/// Adds the medians of both variants and the spread of their ratios; adds no row without measurements.
fn row(table: &mut Table, label: String, rounds: usize, of: impl Fn(Variant, usize) -> Option<f64>) {
    let medians = VARIANTS.map(|variant| Spread::of((0..rounds).filter_map(|round| of(variant, round))));
    let ratios = (0..rounds).filter_map(|round| Some(of(Variant::Ours, round)? / of(Variant::Plain, round)?));
    if let ([Some(plain), Some(ours)], Some(ratio)) = (medians, Spread::of(ratios)) {
        table.row([label, digits(plain.median), digits(ours.median), times(ratio)]);
    }
}

/// The table of this project's own macro.
fn own(expansions: &[Expansions]) -> Table {
    let mut table = Table::new(["", "time"]);
    let room = || expansions.iter().filter(|it| it.name == "#[room]");
    let once = room().filter_map(|it| Some(it.first_ms - it.other_ms?));
    let rows =
        [("each room", Spread::of(room().filter_map(|it| it.other_ms))), ("once in a compilation", Spread::of(once))];
    for (label, spread) in rows {
        if let Some(spread) = spread {
            table.row([label.to_owned(), times(spread)]);
        }
    }
    table
}

/// The table of the slowest macros in either variant, with their sum.
fn macros(findings: &Findings) -> Table {
    let Findings { compilations, expansions } = findings;
    let mut table = Table::new(["macro", "plain, uses", "plain, ms", "ours, uses", "ours, ms"]);
    let rooms = rooms(compilations).last().copied().unwrap_or(1) as f64;
    let mut names: Vec<&str> = Vec::new();
    for it in expansions {
        if !names.contains(&&*it.name) {
            names.push(&it.name);
        }
    }
    // For one variant: the uses per room, and the time.
    let of = |variant, name: Option<&str>| {
        let round = |round| {
            let here = |it: &&Expansions| it.variant == variant && it.round == round;
            let found = expansions.iter().filter(here).filter(|it| name.is_none_or(|name| it.name == name));
            found.fold((0.0, 0.0), |sum, it| (sum.0 + it.count as f64 / rooms, sum.1 + it.total_ms / rooms))
        };
        let rounds: Vec<_> = (0..count(compilations)).map(round).collect();
        let median = |figures: Vec<f64>| Spread::of(figures).map_or(0.0, |spread| spread.median);
        (median(rounds.iter().map(|it| it.0).collect()), median(rounds.iter().map(|it| it.1).collect()))
    };
    let cells = |name| {
        VARIANTS.into_iter().flat_map(move |variant| match of(variant, name) {
            (0.0, _) => [NOTHING.to_owned(), NOTHING.to_owned()],
            (uses, ms) => [format!("{uses:.1}"), format!("{ms:.2}")],
        })
    };
    let most = |name: &str| VARIANTS.map(|variant| of(variant, Some(name)).1).into_iter().fold(0.0, f64::max);
    names.sort_by(|a, b| most(b).total_cmp(&most(a)));
    for name in &names {
        table.row([format!("`{name}`")].into_iter().chain(cells(Some(name))));
    }
    if !names.is_empty() {
        table.row(["all".to_owned()].into_iter().chain(cells(None)));
    }
    table
}

fn find(
    compilations: &[Compilation],
    step: Step,
    variant: Variant,
    rooms: usize,
    round: usize,
) -> Option<&Compilation> {
    compilations.iter().find(|it| (it.step, it.variant, it.rooms, it.round) == (step, variant, rooms, round))
}

/// The sizes of the crates, in their order.
fn rooms(compilations: &[Compilation]) -> Vec<usize> {
    let mut rooms: Vec<_> = compilations.iter().map(|it| it.rooms).collect();
    rooms.sort_unstable();
    rooms.dedup();
    rooms
}

/// The number of rounds.
fn count(compilations: &[Compilation]) -> usize {
    compilations.iter().map(|it| it.round + 1).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compilation(step: Step, (variant, rooms): (Variant, usize), cpu: f64) -> Compilation {
        Compilation { step, variant, rooms, round: 0, cpu, wall: 2.0 * cpu, memory: 100.0 + rooms as f64 }
    }

    fn expansion(variant: Variant, name: &str, times: [f64; 2]) -> Expansions {
        let [first_ms, other_ms] = times;
        Expansions {
            variant,
            round: 0,
            name: name.into(),
            count: 10,
            total_ms: first_ms + 9.0 * other_ms,
            first_ms,
            other_ms: Some(other_ms),
        }
    }

    #[test]
    fn the_smallest_report() {
        let (plain, ours) = (Variant::Plain, Variant::Ours);
        let findings = Findings {
            compilations: vec![
                compilation(Step::Check, (plain, 1), 1.0),
                compilation(Step::Check, (ours, 1), 1.5),
                compilation(Step::Check, (ours, 10), 6.0),
                compilation(Step::Check, (plain, 10), 2.8),
                compilation(Step::Nothing, (plain, 1), 0.1),
                compilation(Step::Nothing, (ours, 1), 0.1),
                // A sample without a counterpart.
                compilation(Step::Build, (ours, 1), 9.0),
            ],
            expansions: vec![
                expansion(ours, "#[room]", [31.0, 1.0]),
                expansion(ours, "#[derive(Serialize)]", [0.5, 0.5]),
                expansion(plain, "#[derive(Serialize)]", [0.5, 0.5]),
            ],
        };
        let machine =
            Machine { cpu: "A CPU".into(), cores: 2, kernel: "6.1".into(), tool: "rustc 1".into(), load_average: None };
        let text = report(&findings, &machine);
        let expected = "\
Measured on A CPU, 2 cores, Linux 6.1, rustc 1.

Time on the CPU, in s (medians; ratios within the same round, median and quartiles):

| compilation     | plain | ours | ours / plain |
| --------------- | ----: | ---: | -----------: |
| check, 1 room   |  1.00 | 1.50 |         1.50 |
| check, 10 rooms |  2.80 | 6.00 |         2.14 |
| nothing to do   |  0.10 | 0.10 |         1.00 |
";
        assert!(text.starts_with(expected), "{text}");
        let expected = "
| one room             | plain | ours | ours / plain |
| -------------------- | ----: | ---: | -----------: |
| check, ms on the CPU |   200 |  500 |         2.50 |
| check, MiB           |  1.00 | 1.00 |         1.00 |
";
        assert!(text.contains(expected), "{text}");
        let expected = "
|                       |  time |
| --------------------- | ----: |
| each room             |  1.00 |
| once in a compilation | 30.00 |
";
        assert!(text.contains(expected), "{text}");
        let expected = "
| macro                  | plain, uses | plain, ms | ours, uses | ours, ms |
| ---------------------- | ----------: | --------: | ---------: | -------: |
| `#[room]`              |           – |         – |        1.0 |     4.00 |
| `#[derive(Serialize)]` |         1.0 |      0.50 |        1.0 |     0.50 |
| all                    |         1.0 |      0.50 |        2.0 |     4.50 |
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn one_size_of_crate_says_nothing_of_one_room_more() {
        let compilations = VARIANTS.map(|variant| compilation(Step::Check, (variant, 1), 1.0));
        assert!(each(&compilations).is_empty());
    }
}
