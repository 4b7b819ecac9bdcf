//! The few shapes that the plots are made of.

use std::fmt::{self, Write as _};

/// The width of every plot, in pixels.
pub(super) const WIDTH: f64 = 860.0;
/// The room between a plot's border and what is in it.
pub(super) const MARGIN: f64 = 20.0;

/// Colours are by class, so that the reader's theme picks them. The card has a ground of its own:
/// a page may be dark where the system is light.
const STYLE: &str = include_str!("style.css");

/// A plot under way. Positions are pixels from the upper left.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// Which of its points a text's position is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A rectangle from its upper left to its lower right.
    pub(super) fn rectangle(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x, y), width, height) = (from, to.0 - from.0, to.1 - from.1);
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    /// A circle.
    pub(super) fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.push(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"/>"#
        ));
    }

    /// A closed shape.
    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = listed(points);
        self.push(format_args!(
            r#"<polygon class="{class}" points="{points}"/>"#
        ));
    }

    /// An open line of many points.
    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = listed(points);
        self.push(format_args!(
            r#"<polyline class="{class}" points="{points}"/>"#
        ));
    }

    /// A line of text on its base line.
    pub(super) fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(format_args!(
            r#"<text class="{class} {anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }

    /// The whole document; `title` and `description` are for those who do not see it.
    pub(super) fn finish(self, height: f64, title: &str, description: &str) -> String {
        let (title, description, shapes) = (escaped(title), escaped(description), self.0);
        let (right, bottom) = (WIDTH - 1.0, height - 1.0);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">
<title>{title}</title>
<desc>{description}</desc>
<style>
{STYLE}</style>
<rect class="card" x="0.5" y="0.5" width="{right}" height="{bottom}" rx="6"/>
{shapes}</svg>
"#
        )
    }

    fn push(&mut self, shape: fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.0, "{shape}");
    }
}

fn listed(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    points.join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
