//! What there is to say in the end, as a table and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Error;
use super::board::{Known, Played, Tally};
use super::idle::Left;
use super::kind::Kind;
use super::process::Usage;

/// How many reasons of clean failures are printed.
const REASONS: usize = 25;

/// The end of a soak.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// Whether somebody ended it before its time.
    pub(crate) early: bool,
    pub(crate) lasted: Duration,
    pub(crate) known: Known,
    /// What is wrong with more than one request.
    pub(crate) wrong: Vec<String>,
    pub(crate) idle: Left,
    pub(crate) before: Usage,
    /// Seconds after the start, and what the client held then.
    pub(crate) samples: Vec<(f64, Usage)>,
    pub(crate) after: Usage,
}

/// What is known of the faults of one kind.
#[derive(Debug, Default)]
struct Row {
    injected: usize,
    tally: Tally,
    /// Ascending, of those faults during whose recovery no other one was felt.
    recoveries: Vec<Duration>,
    /// The longest of all.
    longest: Option<Duration>,
    /// After so many no request went well.
    never: usize,
}

impl Report {
    /// Whether something happened that must not.
    pub(crate) fn is_bad(&self) -> bool {
        let never = self.rows().values().any(|row| row.never > 0);
        self.all().bad() > 0 || never || !self.wrong.is_empty()
    }

    /// All requests.
    fn all(&self) -> Tally {
        sum(self.known.loads.values())
    }

    /// Whether no other fault was felt from the begin of the fault of that number to the recovery
    /// from it.
    fn is_alone(&self, number: usize) -> bool {
        let played = &self.known.played;
        let is_felt_with = |other: &Played, one: &Played| {
            let until = |played: &Played| played.felt_until();
            until(other).is_none_or(|until| until > one.began)
                && until(one).is_none_or(|until| other.began < until)
        };
        let others = played
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number);
        let mut others = others.map(|(_, other)| other);
        !others.any(|other| is_felt_with(other, &played[number]))
    }

    fn rows(&self) -> BTreeMap<Kind, Row> {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        for (number, played) in self.known.played.iter().enumerate() {
            let row = rows.entry(played.kind).or_default();
            row.injected += 1;
            row.tally = sum([&row.tally, &played.tally]);
            match played.recovery {
                Some(recovery) => {
                    row.longest = row.longest.max(Some(recovery));
                    if self.is_alone(number) {
                        row.recoveries.push(recovery);
                    }
                }
                // One that was cut off by an early end has not been looked at.
                None => row.never += usize::from(played.ended.is_some()),
            }
        }
        for row in rows.values_mut() {
            row.recoveries.sort();
        }
        rows
    }

    /// Prints the tables.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let faults = self.known.played.len();
        let (all, lasted) = (self.all(), self.lasted.as_secs());
        let early = if self.early { ", ended early" } else { "" };
        writeln!(
            out,
            "soak of {lasted} s, seed {}{early}: {faults} faults, {} requests ok, {} failed cleanly, \
             {} hung, {} truncated, {} wrong\n",
            self.seed, all.ok, all.failed, all.hung, all.truncated, all.wrong
        )?;
        writeln!(
            out,
            "{:<22}{:>9}{HEADS}   recovery: median, max; max of all",
            "fault", "injected"
        )?;
        for (kind, row) in self.rows() {
            let median = row.recoveries.get(row.recoveries.len() / 2);
            writeln!(
                out,
                "{:<22}{:>9}{}  {:>9} {:>9} {:>9}{}",
                kind.name(),
                row.injected,
                columns(&row.tally),
                milliseconds(median),
                milliseconds(row.recoveries.last()),
                milliseconds(row.longest.as_ref()),
                if row.never > 0 {
                    format!("  {} never", row.never)
                } else {
                    String::new()
                },
            )?;
        }
        writeln!(out, "{:<31}{}\n", "none", columns(&self.known.calm))?;
        writeln!(out, "{:<31}{HEADS}", "load")?;
        for (load, tally) in &self.known.loads {
            writeln!(out, "{:<31}{}", load.name(), columns(tally))?;
        }
        writeln!(
            out,
            "\n{:<31}{:>10}{:>8}{:>13}",
            "client", "MiB", "threads", "descriptors"
        )?;
        let max = self.samples.iter().map(|(_, usage)| *usage);
        let max = max.fold(self.before, Usage::max);
        let last = self.samples.last().map_or(self.before, |(_, usage)| *usage);
        for (what, usage) in [
            ("before the load", self.before),
            ("at most", max),
            ("at the end of the load", last),
            ("after the load", self.after),
        ] {
            let tenths = usage.resident_kib * 10 / 1024;
            let mib = format!("{}.{}", tenths / 10, tenths % 10);
            writeln!(
                out,
                "{what:<31}{mib:>10}{:>8}{:>13}",
                usage.threads, usage.descriptors
            )?;
        }
        if self.idle.opened + self.idle.refused > 0 {
            writeln!(
                out,
                "\nidle connections: {} opened, {} refused, {} still open at the end",
                self.idle.opened, self.idle.refused, self.idle.open_at_the_end
            )?;
        }
        self.print_reasons(&mut out)?;
        self.print_bad(&mut out)?;
        out.flush()
    }

    fn print_reasons(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut reasons: Vec<_> = self.known.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        if !reasons.is_empty() {
            writeln!(out, "\nclean failures, the most frequent first")?;
        }
        for ((load, reason), count) in reasons.into_iter().take(REASONS) {
            writeln!(out, "{count:>8}  {:<14}{reason}", load.name())?;
        }
        Ok(())
    }

    fn print_bad(&self, out: &mut impl io::Write) -> io::Result<()> {
        if self.is_bad() {
            writeln!(out, "\nwhat must not be, the first cases")?;
        }
        for case in &self.known.cases {
            writeln!(
                out,
                "{} at {:.1} s to {:.1} s: {} {}\n  {}\n  faults: {}",
                case.verdict,
                case.began,
                case.ended,
                case.load,
                case.request,
                case.why,
                if case.faults.is_empty() {
                    "none".to_owned()
                } else {
                    case.faults.join(", ")
                },
            )?;
        }
        for wrong in &self.wrong {
            writeln!(out, "{wrong}")?;
        }
        Ok(())
    }

    /// Writes all of it to `path`, as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(std::fs::write(path, format!("{:#}\n", self.json()))?)
    }

    fn json(&self) -> Value {
        let seconds = |time: Option<&Duration>| time.map(Duration::as_secs_f64);
        let faults: BTreeMap<_, _> = self
            .rows()
            .into_iter()
            .map(|(kind, row)| {
                let median = row.recoveries.get(row.recoveries.len() / 2);
                let value = json!({
                    "injected": row.injected,
                    "requests": row.tally,
                    "recovery_median_s": seconds(median),
                    "recovery_max_s": seconds(row.recoveries.last()),
                    "recoveries_alone": row.recoveries.len(),
                    "recovery_max_of_all_s": seconds(row.longest.as_ref()),
                    "never_recovered": row.never,
                });
                (kind.name(), value)
            })
            .collect();
        let loads: BTreeMap<_, _> = self
            .known
            .loads
            .iter()
            .map(|(load, tally)| (load.name(), tally))
            .collect();
        let played: Vec<_> = self.known.played.iter().map(one).collect();
        json!({
            "seed": self.seed,
            "seconds": self.lasted.as_secs_f64(),
            "ended_early": self.early,
            "requests": self.all(),
            "faults": faults,
            "calm": self.known.calm,
            "loads": loads,
            "played": played,
            "idle_connections": self.idle,
            "client": {"before": self.before, "after": self.after, "samples": self.samples},
            "bad": {"requests": self.known.cases, "else": self.wrong},
        })
    }
}

fn one(played: &Played) -> Value {
    let lasted = played.ended.map(|ended| ended - played.began);
    json!({
        "kind": played.kind.name(),
        "lasted_s": lasted.as_ref().map(Duration::as_secs_f64),
        "recovery_s": played.recovery.as_ref().map(Duration::as_secs_f64),
        "requests": played.tally,
    })
}

const HEADS: &str = "        ok    failed  hung  truncated  wrong";

fn columns(tally: &Tally) -> String {
    format!(
        "{:>10}{:>10}{:>6}{:>11}{:>7}",
        tally.ok, tally.failed, tally.hung, tally.truncated, tally.wrong
    )
}

fn milliseconds(time: Option<&Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{} ms", time.as_millis()))
}

fn sum<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Tally {
    let mut sum = Tally::default();
    for tally in tallies {
        sum.ok += tally.ok;
        sum.failed += tally.failed;
        sum.hung += tally.hung;
        sum.truncated += tally.truncated;
        sum.wrong += tally.wrong;
    }
    sum
}
