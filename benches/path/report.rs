//! The figures: a table for people, JSON for programs.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::effort::Effort;
use crate::goals::{Goal, KEYS, Key};
use crate::machine::Machine;
use crate::statistics::{Curve, Summary, median};

/// Everything measured in one run.
#[derive(Debug)]
pub(crate) struct Report {
    effort: &'static str,
    before: Machine,
    after: Option<Machine>,
    samples: HashMap<&'static str, Vec<f64>>,
    /// Latencies in microseconds.
    curves: Vec<Curve>,
}

/// One quantity that was measured.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) key: &'static Key,
    samples: &'a [f64],
    pub(crate) summary: Summary,
    /// The goal with the other quantity's figure in place; `None` where there is none to compare.
    pub(crate) goal: Option<Limit>,
}

/// A goal as a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub(crate) fn new(effort: &Effort, before: Machine) -> Self {
        Self {
            effort: effort.name,
            before,
            after: None,
            samples: HashMap::new(),
            curves: Vec::new(),
        }
    }

    /// Adds samples of `key`.
    pub(crate) fn add(&mut self, key: &'static str, samples: impl IntoIterator<Item = f64>) {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "{key}");
        self.samples.entry(key).or_default().extend(samples);
    }

    /// Adds a sample of `key`.
    pub(crate) fn add_one(&mut self, key: &'static str, sample: f64) {
        self.add(key, [sample]);
    }

    /// Adds how latencies in microseconds are spread.
    pub(crate) fn add_curve(&mut self, curve: Curve) {
        self.curves.push(curve);
    }

    /// How latencies are spread.
    pub(crate) fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Which run it is, in a line.
    pub(crate) fn caption(&self) -> String {
        format!("{} run of {}", self.effort, self.before.in_short())
    }

    /// The machine as the run left it.
    pub(crate) fn finish(&mut self, after: Machine) {
        self.after = Some(after);
    }

    /// Writes the figures as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let keys: HashMap<_, _> = self.rows().map(|row| (row.key.name, row.json())).collect();
        let curves = self.curves.iter();
        let latency: HashMap<_, _> = curves.map(|curve| (curve.name, &curve.points)).collect();
        let document = json!({
            "effort": self.effort,
            "before": self.before,
            "after": self.after,
            "keys": keys,
            "latency_us": latency,
        });
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, format!("{document:#}\n"))?)
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        KEYS.iter().filter_map(|key| self.row_of(key))
    }

    /// What was measured of the key of that name.
    pub(crate) fn row(&self, name: &str) -> Option<Row<'_>> {
        self.row_of(KEYS.iter().find(|key| key.name == name)?)
    }

    fn row_of(&self, key: &'static Key) -> Option<Row<'_>> {
        let samples = self.samples.get(key.name)?;
        Some(Row {
            key,
            samples,
            summary: Summary::of(samples)?,
            goal: self.limit(key.goal),
        })
    }

    fn limit(&self, goal: Goal) -> Option<Limit> {
        match goal {
            Goal::AtMost(limit) => Some(Limit::AtMost(limit)),
            Goal::AtLeast(limit) => Some(Limit::AtLeast(limit)),
            Goal::MoreThan(other) => Some(Limit::AtLeast(median(self.samples.get(other)?)?)),
            Goal::None => None,
        }
    }
}

impl Limit {
    /// The figure.
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {}", figure(*limit)),
            Self::AtLeast(limit) => write!(f, "≥ {}", figure(*limit)),
        }
    }
}

impl Row<'_> {
    /// Whether the median is as good as the goal asks.
    pub(crate) fn met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Limit::AtMost(limit) => self.summary.median <= limit,
            Limit::AtLeast(limit) => self.summary.median >= limit,
        })
    }

    fn json(&self) -> Value {
        let goal = self.goal.map(|goal| match goal {
            Limit::AtMost(limit) => json!({ "at_most": limit }),
            Limit::AtLeast(limit) => json!({ "at_least": limit }),
        });
        json!({
            "unit": self.key.unit,
            "minimum": self.summary.minimum,
            "median": self.summary.median,
            "maximum": self.summary.maximum,
            "goal": goal,
            "met": self.met(),
            "samples": self.samples,
        })
    }

    fn cells(&self) -> [String; 7] {
        let goal = self.goal.map(|goal| goal.to_string());
        let met = match self.met() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        [
            format!("`{}`", self.key.name),
            figure(self.summary.minimum),
            figure(self.summary.median),
            figure(self.summary.maximum),
            self.key.unit.to_owned(),
            goal.unwrap_or_default(),
            met.to_owned(),
        ]
    }
}

/// About three digits that mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Markdown that is also readable as it is.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["key", "minimum", "median", "maximum", "unit", "goal", "met"];
        let mut table = vec![heads.map(str::to_owned)];
        table.extend(self.rows().map(|row| row.cells()));
        let widths: [usize; 7] = std::array::from_fn(|column| {
            let cells = table.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        });
        writeln!(f, "{} run. Before: {}", self.effort, self.before)?;
        if let Some(after) = &self.after {
            writeln!(f, "After: load {}", after.load)?;
        }
        writeln!(f)?;
        for (index, row) in table.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                match column {
                    1..=3 => write!(f, "| {cell:>width$} ")?,
                    _ => write!(f, "| {cell:<width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let line = "-".repeat(width + 1);
                    match column {
                        1..=3 => write!(f, "|{line}:")?,
                        _ => write!(f, "|{line}-")?,
                    }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}
