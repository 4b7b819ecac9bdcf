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
    /// The key, and what people call it.
    pub(super) rows: &'static [(&'static str, &'static str)],
}

const LEFT: f64 = 252.0;
const RIGHT: f64 = 650.0;
const MEDIAN: f64 = 745.0;
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
        let sections: Vec<(&str, Vec<(&str, Row<'_>)>)> = self
            .sections
            .iter()
            .map(|section| (section.head, measured(section, report)))
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        let rows = || sections.iter().flat_map(|(_, rows)| rows);
        let values = rows().flat_map(|(_, row)| {
            let goal = row.goal.map(Limit::value);
            [row.summary.minimum, row.summary.maximum]
                .into_iter()
                .chain(goal)
        });
        let axis = Axis::over(values, self.scale, (LEFT, RIGHT))?;

        let mut y = TOP + 14.0;
        let mut places = Vec::new();
        for (head, rows) in &sections {
            if !head.is_empty() {
                places.push((y, Place::Head(head)));
                y += HEAD;
            }
            for (label, row) in rows {
                places.push((y + ROW / 2.0, Place::Row(label, row)));
                y += ROW;
            }
        }
        let bottom = y + 4.0;

        let mut svg = Svg::default();
        svg.text("title", Anchor::Start, (MARGIN, 32.0), self.title);
        svg.text("note", Anchor::Start, (MARGIN, 51.0), self.subtitle);
        svg.text("head", Anchor::End, (MEDIAN, TOP), "median");
        svg.text("head", Anchor::End, (GOAL, TOP), "goal");
        self.grid(&mut svg, &axis, bottom);
        for (y, place) in &places {
            match place {
                Place::Head(head) => {
                    svg.text("section", Anchor::Start, (MARGIN, y + 18.0), head);
                }
                Place::Row(label, row) => lane(&mut svg, &axis, *y, label, row),
            }
        }
        legend(&mut svg, bottom + 46.0);
        let caption = report.caption();
        svg.text("note", Anchor::Start, (MARGIN, bottom + 72.0), &caption);
        let described: Vec<_> = rows()
            .map(|(label, row)| format!("{label}: {}", in_words(row)))
            .collect();
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

enum Place<'a> {
    Head(&'a str),
    Row(&'a str, &'a Row<'a>),
}

fn measured<'a>(section: &Section, report: &'a Report) -> Vec<(&'static str, Row<'a>)> {
    let rows = section.rows.iter();
    rows.filter_map(|(key, label)| Some((*label, report.row(key)?)))
        .collect()
}

fn lane(svg: &mut Svg, axis: &Axis, y: f64, label: &str, row: &Row<'_>) {
    svg.text("label", Anchor::Start, (MARGIN, y - 2.0), label);
    svg.text("key", Anchor::Start, (MARGIN, y + 13.0), row.key.name);
    if let Some(goal) = row.goal {
        let x = axis.position(goal.value());
        let (from, to) = match goal {
            Limit::AtMost(_) => (LEFT, x),
            Limit::AtLeast(_) => (x, RIGHT),
        };
        svg.rectangle("good", (from, y - LANE), (to, y + LANE));
        svg.line("goal", (x, y - TICK), (x, y + TICK));
        svg.text("label", Anchor::End, (GOAL, y + 4.0), &goal.to_string());
    }
    let [minimum, median, maximum] = [row.summary.minimum, row.summary.median, row.summary.maximum]
        .map(|value| axis.position(value));
    svg.line("range", (minimum, y), (maximum, y));
    dot(svg, (median, y), row.met());
    svg.text("value", Anchor::End, (MEDIAN, y + 4.0), &measure(row));
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

fn legend(svg: &mut Svg, y: f64) {
    let middle = y - 4.0;
    dot(svg, (MARGIN + 7.0, middle), Some(true));
    svg.text(
        "note",
        Anchor::Start,
        (MARGIN + 20.0, y),
        "median, goal met",
    );
    dot(svg, (167.0, middle), Some(false));
    svg.text("note", Anchor::Start, (180.0, y), "median, goal missed");
    svg.line("range", (325.0, middle), (349.0, middle));
    svg.text("note", Anchor::Start, (356.0, y), "minimum to maximum");
    svg.rectangle("good", (506.0, middle - LANE), (524.0, middle + LANE));
    svg.line(
        "goal",
        (506.0, middle - TICK + 2.0),
        (506.0, middle + TICK - 2.0),
    );
    svg.text(
        "note",
        Anchor::Start,
        (531.0, y),
        "goal, shaded where it is met",
    );
}

fn measure(row: &Row<'_>) -> String {
    format!("{} {}", figure(row.summary.median), row.key.unit)
}

fn in_words(row: &Row<'_>) -> String {
    let goal = match (row.goal, row.met()) {
        (Some(goal), Some(true)) => format!(", goal {goal} met"),
        (Some(goal), _) => format!(", goal {goal} missed"),
        (None, _) => String::new(),
    };
    format!("{}{goal}", measure(row))
}

/// As short as it can be.
pub(super) fn tick_text(tick: f64) -> String {
    let text = format!("{tick:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
