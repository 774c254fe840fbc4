//! Draws the ratios: a bar for each variant, with a bare Durable Object as the line at 1.

use std::fmt::Write;

use crate::{
    findings::Findings,
    stats::{Spread, ratio},
    variants::Variant,
};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 160.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 74.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// The end of the scale. Longer bars are cut off, and their figure shows the length.
const MOST: f64 = 4.0;

const VARIANTS: [Variant; 4] = [Variant::Partyserver, Variant::Plain, Variant::Ours, Variant::Batched];

/// The colours differ in hue and lightness; both themes have their own.
const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.small { fill: #59636e; font-size: 11px }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.bare { stroke: #1f2328; stroke-width: 1.5 }
.whisker { stroke: #1f2328; stroke-width: 1.2; fill: none }
.partyserver { fill: #e0a458 }
.plain { fill: #8ba6c1 }
.ours { fill: #1f6feb }
.batched { fill: #2da44e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .bare { stroke: #e6edf3 }
  .whisker { stroke: #e6edf3 }
  .partyserver { fill: #b07a35 }
  .plain { fill: #5f7a96 }
  .ours { fill: #4493f8 }
  .batched { fill: #3fb950 }
}";

/// Draws an SVG; returns `None` if no figure can be compared with `bare`.
pub(crate) fn plot(findings: &Findings) -> Option<String> {
    let groups = groups(findings);
    let longest = groups.iter().flat_map(|(_, bars)| bars).map(|(_, ratio)| ratio.high).reduce(f64::max)?;
    let end = (longest.min(MOST) * 2.0).ceil() / 2.0;
    let at = |ratio: f64| LEFT + ratio.min(end) / end * (WIDTH - LEFT - RIGHT);
    let rows: f64 = groups.iter().map(|(_, bars)| bars.len() as f64 * BAR + GAP).sum();
    let (bottom, height) = (TOP + rows, TOP + rows + BOTTOM);

    let mut svg = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(svg, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" role="img">"#);
    let _ = writeln!(svg, "<title>What a message costs, compared with a bare Durable Object</title>");
    let _ = writeln!(svg, "<style>\n{STYLE}\n</style>");
    let _ = writeln!(svg, r#"<text class="title" x="12" y="24">CPU time of workerd for one message</text>"#);
    let explained = "1 = the same room as a bare JavaScript Durable Object; shorter is better; median and quartiles";
    let _ = writeln!(svg, r#"<text class="small" x="12" y="42">{explained}</text>"#);
    legend(&mut svg, &groups);

    for half in 0..=(end * 2.0) as u32 {
        let ratio = f64::from(half) / 2.0;
        let label = if half == 2 { "1 = bare".to_owned() } else { ratio.to_string() };
        let (x, y) = (at(ratio), bottom + 16.0);
        let _ = writeln!(svg, r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom:.1}"/>"#);
        let _ = writeln!(svg, r#"<text class="small" x="{x:.1}" y="{y:.1}" text-anchor="middle">{label}</text>"#);
    }
    let mut y = TOP + GAP / 2.0;
    for (workload, bars) in &groups {
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        let x = LEFT - 10.0;
        let _ = writeln!(svg, r#"<text x="{x}" y="{middle:.1}" text-anchor="end">{workload}</text>"#);
        for (variant, ratio) in bars {
            bar(&mut svg, *variant, *ratio, y, at);
            y += BAR;
        }
        y += GAP;
    }
    // The line is drawn after the bars, so that it is visible on top of them.
    let x = at(1.0);
    let _ = writeln!(svg, r#"<line class="bare" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom:.1}"/>"#);
    let _ = writeln!(svg, "</svg>");
    Some(svg)
}

type Group<'a> = (&'a str, Vec<(Variant, Spread)>);

fn groups(findings: &Findings) -> Vec<Group<'_>> {
    let bars = |workload| -> Vec<_> {
        let of = |variant| ratio(&findings.samples, (workload, variant), (workload, Variant::Bare));
        VARIANTS.into_iter().filter_map(|variant| Some((variant, of(variant)?))).collect()
    };
    let groups = findings.workloads().into_iter().map(|workload| (workload, bars(workload)));
    groups.filter(|(_, bars)| !bars.is_empty()).collect()
}

fn legend(svg: &mut String, groups: &[Group<'_>]) {
    let mut x = LEFT;
    for variant in VARIANTS {
        if !groups.iter().flat_map(|(_, bars)| bars).any(|(found, _)| *found == variant) {
            continue;
        }
        let (y, text) = (TOP - 19.0, x + 17.0);
        let _ = writeln!(svg, r#"<rect class="{variant}" x="{x}" y="{y}" width="11" height="11" rx="2"/>"#);
        let _ = writeln!(svg, r#"<text x="{text}" y="{}">{variant}</text>"#, y + 10.0);
        x = text + 8.0 * variant.name().len() as f64 + 18.0;
    }
}

fn bar(svg: &mut String, variant: Variant, ratio: Spread, y: f64, at: impl Fn(f64) -> f64) {
    let (end, low, high) = (at(ratio.median), at(ratio.low), at(ratio.high));
    let (width, height, middle) = (end - LEFT, BAR - 2.0, y + BAR / 2.0 - 1.0);
    let _ = writeln!(
        svg,
        r#"<rect class="{variant}" x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{height}" rx="1.5"/>"#
    );
    let _ = writeln!(
        svg,
        r#"<path class="whisker" d="M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v5M{high:.1} {:.1}v5"/>"#,
        middle - 2.5,
        middle - 2.5
    );
    let (x, baseline) = (end.max(high) + 6.0, middle + 4.0);
    let _ = writeln!(svg, r#"<text class="small" x="{x:.1}" y="{baseline:.1}">{:.2}</text>"#, ratio.median);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Sample;

    fn findings(figures: &[(Variant, f64)]) -> Findings {
        let sample = |&(variant, cpu_us)| {
            let workload = "echo".to_owned();
            Sample { workload, variant, round: 0, messages: 1, cpu_us, wall_us: 0.0, load_us: 0.0, rss_kib: 0 }
        };
        Findings { samples: figures.iter().map(sample).collect(), ..Findings::default() }
    }

    #[test]
    fn nothing_to_compare_is_no_picture() {
        assert_eq!(plot(&findings(&[])), None);
        assert_eq!(plot(&findings(&[(Variant::Bare, 1.0)])), None);
        assert_eq!(plot(&findings(&[(Variant::Ours, 1.0)])), None);
    }

    #[test]
    fn a_bar_ends_at_its_ratio() {
        let svg = plot(&findings(&[(Variant::Bare, 20.0), (Variant::Ours, 30.0), (Variant::Plain, 900.0)]));
        let svg = svg.expect("a picture");
        // The scale ends at 4: a ratio of 45 is cut off there.
        let scale = WIDTH - LEFT - RIGHT;
        assert!(svg.contains(&format!(r#"class="plain" x="160" y="81.0" width="{scale:.1}""#)), "{svg}");
        assert!(svg.contains(&format!(r#"class="ours" x="160" y="94.0" width="{:.1}""#, scale * 1.5 / 4.0)), "{svg}");
        assert!(svg.contains(">45.00</text>") && svg.contains(">1.50</text>"), "{svg}");
        assert!(!svg.contains(r#"<rect class="batched""#), "{svg}");
    }
}
