//! A row for each quantity: minimum to maximum as a line, the median as a dot, the goal as a tick.

use super::axis::{Axis, Scale};
use super::svg::{Anchor, MARGIN, Svg, WIDTH};
use crate::report::{Limit, Report, Row, figure};

/// What a plot shows.
#[derive(Debug)]
pub(super) struct Ranges {
    pub(super) title: &'static str,
    pub(super) subtitle: &'static str,
    pub(super) scale: Scale,
    pub(super) sections: &'static [Section],
}

/// Rows under a head, which may be empty.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) head: &'static str,
    pub(super) rows: &'static [Line],
}

/// What a row shows.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    /// The key of what no program can be better than.
    pub(super) floor: Option<&'static str>,
}

/// A row with its figures.
struct Lane<'a> {
    label: &'static str,
    row: Row<'a>,
    floor: Option<f64>,
}

enum Place<'a> {
    Head(&'a str),
    Lane(&'a Lane<'a>),
}

const LEFT: f64 = 252.0;
const RIGHT: f64 = 600.0;
const MEDIAN: f64 = 695.0;
const FLOOR: f64 = 765.0;
const GOAL: f64 = WIDTH - MARGIN;
const TOP: f64 = 72.0;
const HEAD: f64 = 30.0;
const ROW: f64 = 42.0;
/// Half the height of a lane, of a tick and of a dot.
const LANE: f64 = 8.0;
const TICK: f64 = 12.0;
const DOT: f64 = 5.0;

impl Ranges {
    /// Draws what of it was measured; `None` where nothing was.
    pub(super) fn draw(&self, report: &Report) -> Option<String> {
        let sections = self.sections.iter();
        let sections: Vec<_> = sections
            .map(|section| (section.head, measured(section, report)))
            .filter(|(_, lanes)| !lanes.is_empty())
            .collect();
        let lanes = || sections.iter().flat_map(|(_, lanes)| lanes);
        let axis = Axis::over(lanes().flat_map(Lane::values), self.scale, (LEFT, RIGHT))?;
        let has_floor = lanes().any(|lane| lane.floor.is_some());

        let mut y = TOP + 14.0;
        let mut places = Vec::new();
        for (head, lanes) in &sections {
            if !head.is_empty() {
                places.push((y, Place::Head(head)));
                y += HEAD;
            }
            for lane in lanes {
                places.push((y + ROW / 2.0, Place::Lane(lane)));
                y += ROW;
            }
        }
        let bottom = y + 4.0;

        let mut svg = Svg::default();
        svg.text("title", Anchor::Start, (MARGIN, 32.0), self.title);
        svg.text("note", Anchor::Start, (MARGIN, 51.0), self.subtitle);
        svg.text("head", Anchor::End, (MEDIAN, TOP), "median");
        svg.text("head", Anchor::End, (GOAL, TOP), "goal");
        if has_floor {
            svg.text("head", Anchor::End, (FLOOR, TOP), "floor");
        }
        self.grid(&mut svg, &axis, bottom);
        for (y, place) in &places {
            match place {
                Place::Head(head) => {
                    svg.text("section", Anchor::Start, (MARGIN, y + 18.0), head);
                }
                Place::Lane(lane) => lane.draw(&mut svg, &axis, *y),
            }
        }
        legend(&mut svg, bottom + 46.0, has_floor);
        let caption = report.caption();
        svg.text("note", Anchor::Start, (MARGIN, bottom + 72.0), &caption);
        let described: Vec<_> = lanes().map(Lane::in_words).collect();
        Some(svg.finish(bottom + 88.0, self.title, &described.join("; ")))
    }

    fn grid(&self, svg: &mut Svg, axis: &Axis, bottom: f64) {
        for tick in axis.ticks() {
            let x = axis.position(tick);
            // A ratio of one is no difference.
            let same = self.scale == Scale::Logarithmic && (tick - 1.0).abs() < 1e-9;
            let class = if same { "one" } else { "grid" };
            svg.line(class, (x, TOP + 8.0), (x, bottom));
            svg.text(
                "scale",
                Anchor::Middle,
                (x, bottom + 16.0),
                &tick_text(tick),
            );
        }
    }
}

fn measured<'a>(section: &Section, report: &'a Report) -> Vec<Lane<'a>> {
    let lines = section.rows.iter();
    lines
        .filter_map(|line| {
            let floor = line.floor.and_then(|key| report.row(key));
            Some(Lane {
                label: line.label,
                row: report.row(line.key)?,
                floor: floor.map(|row| row.summary.median),
            })
        })
        .collect()
}

impl Lane<'_> {
    /// All that has to have a place.
    fn values(&self) -> impl Iterator<Item = f64> {
        let goal = self.row.goal.map(Limit::value);
        [self.row.summary.minimum, self.row.summary.maximum]
            .into_iter()
            .chain(goal)
            .chain(self.floor)
    }

    fn draw(&self, svg: &mut Svg, axis: &Axis, y: f64) {
        let (row, written) = (&self.row, y + 4.0);
        svg.text("label", Anchor::Start, (MARGIN, y - 2.0), self.label);
        svg.text("key", Anchor::Start, (MARGIN, y + 13.0), row.key.name);
        if let Some(goal) = row.goal {
            let x = axis.position(goal.value());
            let (from, to) = match goal {
                Limit::AtMost(_) => (LEFT, x),
                Limit::AtLeast(_) => (x, RIGHT),
            };
            svg.rectangle("good", (from, y - LANE), (to, y + LANE));
            svg.line("goal", (x, y - TICK), (x, y + TICK));
            svg.text("label", Anchor::End, (GOAL, written), &goal.to_string());
        }
        if let Some(floor) = self.floor {
            under(svg, (axis.position(floor), y));
            svg.text("label", Anchor::End, (FLOOR, written), &figure(floor));
        }
        let summary = &row.summary;
        let [minimum, median, maximum] =
            [summary.minimum, summary.median, summary.maximum].map(|value| axis.position(value));
        svg.line("range", (minimum, y), (maximum, y));
        dot(svg, (median, y), row.met());
        svg.text("value", Anchor::End, (MEDIAN, written), &self.median());
    }

    fn median(&self) -> String {
        format!("{} {}", figure(self.row.summary.median), self.row.key.unit)
    }

    fn in_words(&self) -> String {
        let goal = match (self.row.goal, self.row.met()) {
            (Some(goal), Some(true)) => format!(", goal {goal} met"),
            (Some(goal), _) => format!(", goal {goal} missed"),
            (None, _) => String::new(),
        };
        let floor = self.floor.map(|floor| format!(", floor {}", figure(floor)));
        let floor = floor.unwrap_or_default();
        format!("{}: {}{goal}{floor}", self.label, self.median())
    }
}

/// The median: its shape and its colour say the same.
fn dot(svg: &mut Svg, (x, y): (f64, f64), met: Option<bool>) {
    let reach = DOT + 2.0;
    match met {
        Some(true) => svg.circle("met", (x, y), DOT),
        Some(false) => svg.polygon(
            "missed",
            &[
                (x, y - reach),
                (x + reach, y),
                (x, y + reach),
                (x - reach, y),
            ],
        ),
        None => svg.circle("plain", (x, y), DOT - 1.0),
    }
}

/// The floor: it points at its place from under the lane.
fn under(svg: &mut Svg, (x, y): (f64, f64)) {
    let (tip, foot) = (y + LANE, y + LANE + 8.0);
    svg.polygon("plain", &[(x, tip), (x + 4.5, foot), (x - 4.5, foot)]);
}

fn legend(svg: &mut Svg, y: f64, has_floor: bool) {
    let middle = y - 4.0;
    dot(svg, (MARGIN + 7.0, middle), Some(true));
    dot(svg, (167.0, middle), Some(false));
    svg.line("range", (322.0, middle), (344.0, middle));
    svg.rectangle("good", (494.0, middle - LANE), (510.0, middle + LANE));
    let (above, below) = (middle - LANE - 2.0, middle + LANE + 2.0);
    svg.line("goal", (494.0, above), (494.0, below));
    for (x, text) in [
        (MARGIN + 20.0, "median, goal met"),
        (180.0, "median, goal missed"),
        (351.0, "minimum to maximum"),
        (517.0, "goal, shaded where met"),
    ] {
        svg.text("note", Anchor::Start, (x, y), text);
    }
    if has_floor {
        under(svg, (690.0, middle - LANE - 4.0));
        svg.text("note", Anchor::Start, (702.0, y), "floor");
    }
}

/// As short as it can be.
pub(super) fn tick_text(tick: f64) -> String {
    let text = format!("{tick:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
