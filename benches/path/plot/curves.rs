//! How latencies are spread: a curve for each way, by percentile.

use super::axis::{Axis, Scale};
use super::ranges::tick_text;
use super::svg::{Anchor, MARGIN, Svg};
use crate::report::{Report, figure};
use crate::statistics::Curve;

const TITLE: &str = "Latency of small requests";
const SUBTITLE: &str =
    "one after another on a warm connection; all rounds together; both scales logarithmic";
const LEFT: f64 = 84.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 372.0;
/// The least distance of two labels.
const APART: f64 = 38.0;
const PERCENTILES: [(f64, &str); 5] = [
    (0.0, "fastest"),
    (50.0, "50 %"),
    (90.0, "90 %"),
    (99.0, "99 %"),
    (99.9, "99.9 %"),
];

/// Draws what was measured; `None` where nothing was.
pub(super) fn draw(report: &Report) -> Option<String> {
    let curves = report.curves();
    let values = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(_, latency)| *latency));
    let axis = Axis::over(values, Scale::Logarithmic, (BOTTOM, TOP))?;
    let furthest = curves
        .iter()
        .filter_map(|curve| curve.points.last())
        .map(|(percentile, _)| nines(*percentile))
        .reduce(f64::max)
        .filter(|furthest| *furthest > 0.0)?;
    let across = |percentile| LEFT + nines(percentile) / furthest * (RIGHT - LEFT);

    let mut svg = Svg::default();
    svg.text("title", Anchor::Start, (MARGIN, 32.0), TITLE);
    svg.text("note", Anchor::Start, (MARGIN, 51.0), SUBTITLE);
    for tick in axis.ticks() {
        let y = axis.position(tick);
        svg.line("grid", (LEFT, y), (RIGHT, y));
        let text = format!("{} us", tick_text(tick));
        svg.text("scale", Anchor::End, (LEFT - 8.0, y + 4.0), &text);
    }
    let drawn = PERCENTILES
        .iter()
        .filter(|(percentile, _)| nines(*percentile) <= furthest + 1e-9);
    for (percentile, name) in drawn {
        let x = across(*percentile);
        svg.line("grid", (x, TOP), (x, BOTTOM));
        svg.text("scale", Anchor::Middle, (x, BOTTOM + 18.0), name);
    }
    for (index, curve) in curves.iter().enumerate() {
        let points: Vec<_> = curve
            .points
            .iter()
            .map(|(percentile, latency)| (across(*percentile), axis.position(*latency)))
            .collect();
        svg.polyline(&format!("curve curve{index}"), &points);
        for percentile in [50.0, 99.0] {
            if let Some(latency) = curve.at(percentile) {
                let place = (across(percentile), axis.position(latency));
                mark(&mut svg, index, place);
            }
        }
    }
    label(&mut svg, &axis, curves);
    let caption = report.caption();
    svg.text("note", Anchor::Start, (MARGIN, BOTTOM + 50.0), &caption);
    let described: Vec<_> = curves
        .iter()
        .map(|curve| format!("{}: {}", curve.name, in_words(curve)))
        .collect();
    Some(svg.finish(BOTTOM + 66.0, TITLE, &described.join("; ")))
}

/// Names every curve at its end, no two on one another.
fn label(svg: &mut Svg, axis: &Axis, curves: &[Curve]) {
    let mut ends: Vec<_> = curves
        .iter()
        .enumerate()
        .filter_map(|(index, curve)| Some((axis.position(curve.points.last()?.1), index, curve)))
        .collect();
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Down from the top as far as needed, then up from the bottom.
    let mut free = TOP;
    for (y, ..) in &mut ends {
        *y = y.max(free);
        free = *y + APART;
    }
    let mut free = BOTTOM;
    for (y, ..) in ends.iter_mut().rev() {
        *y = y.min(free);
        free = *y - APART;
    }
    for (y, index, curve) in ends {
        mark(svg, index, (RIGHT + 16.0, y));
        let x = RIGHT + 28.0;
        svg.text("label", Anchor::Start, (x, y + 1.0), curve.name);
        svg.text("note", Anchor::Start, (x, y + 15.0), &in_words(curve));
    }
}

/// Curves differ by shape too.
fn mark(svg: &mut Svg, index: usize, (x, y): (f64, f64)) {
    let class = format!("point{index}");
    match index {
        0 => svg.rectangle(&class, (x - 4.5, y - 4.5), (x + 4.5, y + 4.5)),
        1 => svg.circle(&class, (x, y), 5.5),
        _ => svg.polygon(
            &class,
            &[(x, y - 6.0), (x + 6.0, y + 4.5), (x - 6.0, y + 4.5)],
        ),
    }
}

fn in_words(curve: &Curve) -> String {
    let figures: Vec<_> = [50.0, 99.0]
        .into_iter()
        .filter_map(|percentile| {
            let latency = figure(curve.at(percentile)?);
            Some(format!("p{percentile:.0} {latency} us"))
        })
        .collect();
    figures.join(", ")
}

/// How many nines a percentile has: 90 is 1, 99 is 2.
fn nines(percentile: f64) -> f64 {
    2.0 - (100.0 - percentile).log10()
}
