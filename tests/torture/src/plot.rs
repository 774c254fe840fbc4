//! Draws how the memory went over time.

use std::fmt::Write;

use crate::stats::Series;

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 36.0;
const MIB: f64 = 1_048_576.0;

/// Both themes have their own colours.
const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.small { fill: #59636e; font-size: 11px }
.grid { stroke: #d1d9e0; stroke-width: 1 }
polyline { fill: none; stroke-width: 2 }
.resident { stroke: #1f6feb; fill: #1f6feb }
.heap { stroke: #2da44e; fill: #2da44e }
polyline.resident, polyline.heap { fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .grid { stroke: #3d444d }
}";

/// Draws an SVG of the resident memory of workerd and of the WebAssembly memory, both in bytes.
pub(crate) fn plot(title: &str, resident: &Series, heap: &Series) -> String {
    let both = || resident.points().iter().chain(heap.points());
    let seconds = both().map(|(at, _)| *at).fold(1.0, f64::max);
    let most = (both().map(|(_, value)| *value / MIB).fold(1.0, f64::max) / 100.0).ceil() * 100.0;
    let x = |at: f64| LEFT + at / seconds * (WIDTH - LEFT - RIGHT);
    let y = |mib: f64| HEIGHT - BOTTOM - mib / most * (HEIGHT - TOP - BOTTOM);

    let mut svg = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(svg, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    let _ = writeln!(svg, "<title>{title}</title>\n<style>\n{STYLE}\n</style>");
    let _ = writeln!(svg, r#"<text class="title" x="12" y="24">{title}</text>"#);
    for part in 0..=4 {
        let mib = most * f64::from(part) / 4.0;
        let (at, right, left) = (y(mib), WIDTH - RIGHT, LEFT - 8.0);
        let _ = writeln!(svg, r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}"/>"#);
        let baseline = at + 4.0;
        let _ =
            writeln!(svg, r#"<text class="small" x="{left}" y="{baseline:.1}" text-anchor="end">{mib:.0} MiB</text>"#);
    }
    for part in 0..=6 {
        let at = seconds * f64::from(part) / 6.0;
        let (place, baseline, minutes) = (x(at), HEIGHT - 14.0, at / 60.0);
        let _ = writeln!(
            svg,
            r#"<text class="small" x="{place:.1}" y="{baseline}" text-anchor="middle">{minutes:.1} min</text>"#
        );
    }
    let lines = [("resident", "resident memory of workerd", resident), ("heap", "WebAssembly memory", heap)];
    for (number, (class, name, series)) in lines.into_iter().enumerate() {
        let points: Vec<_> =
            series.points().iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value / MIB))).collect();
        let _ = writeln!(svg, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
        let left = LEFT + 220.0 * number as f64;
        let _ = writeln!(svg, r#"<rect class="{class}" x="{left}" y="36" width="11" height="11" rx="2"/>"#);
        let _ = writeln!(svg, r#"<text x="{}" y="46">{name}</text>"#, left + 17.0);
    }
    let _ = writeln!(svg, "</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_last_value() {
        let (mut resident, mut heap) = (Series::default(), Series::default());
        for (at, value) in [(0.0, 50.0), (60.0, 200.0)] {
            resident.push(at, value * MIB);
            heap.push(at, 10.0 * MIB);
        }
        let svg = plot("Memory", &resident, &heap);
        // The scale ends at 200 MiB and at one minute.
        assert!(svg.contains(&format!("{:.1},{TOP:.1}\"/>", WIDTH - RIGHT)), "{svg}");
        assert!(svg.contains(">200 MiB</text>") && svg.contains(">1.0 min</text>"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
