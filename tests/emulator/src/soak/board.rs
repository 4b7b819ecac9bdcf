//! What is known of a run while it runs: which faults are active, and how requests have ended.
//!
//! A request has an amount of calm time to end in: its clock stands still while any fault is
//! active. That, and how long it may take in all, are what the client promises, and a little for a
//! machine that is busy. A request counts for every fault that was active, or from which the client had not
//! recovered, in the last seconds of the request's life; and as calm if there was none.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::kind::Kind;
use super::load::Load;

/// How much calm time a request has until its answer begins, or its body moves: the client may wait
/// for a tunnel for 15 seconds, begins an attempt to open one within 3 more, and gives a tunnel up
/// that has died in another 15.
pub(crate) const PATIENCE: Duration = Duration::from_secs(35);
/// The same once the answer has begun: only its tunnel can die.
const ANSWERED: Duration = Duration::from_secs(20);
/// The same in all, calm or not: an attempt that has begun may take a minute from the first wait on.
const ALL_PATIENCE: Duration = Duration::from_secs(80);
/// How long before its end a fault may have been active to count as that end's cause.
const BLAME: Duration = Duration::from_secs(2);
/// How long after its end a fault counts as the cause, if no request goes well.
const AFTERMATH: Duration = Duration::from_secs(20);
/// How many bad cases are kept in detail.
const CASES: usize = 20;

/// How a request has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// With all that was asked for.
    Ok,
    /// With an error that says so.
    Failed(String),
    /// Not at all.
    Hung(String),
    /// As if it were whole, without being that.
    Truncated(String),
    /// With something else than what is right.
    Wrong(String),
}

/// How many requests have ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) hung: u64,
    pub(crate) truncated: u64,
    pub(crate) wrong: u64,
}

impl Tally {
    fn count(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Ok => &mut self.ok,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Hung(_) => &mut self.hung,
            Verdict::Truncated(_) => &mut self.truncated,
            Verdict::Wrong(_) => &mut self.wrong,
        } += 1;
    }

    /// Those that must not be.
    pub(crate) fn bad(&self) -> u64 {
        self.hung + self.truncated + self.wrong
    }
}

/// A fault that was played.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) kind: Kind,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
    /// From its end to the end of the first request that began after it and went well.
    pub(crate) recovery: Option<Duration>,
    pub(crate) tally: Tally,
}

impl Played {
    /// Until when it was felt; none if it is.
    pub(crate) fn felt_until(&self) -> Option<Instant> {
        Some(self.ended? + self.recovery.unwrap_or(AFTERMATH))
    }
}

/// A request that ended as none may.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Case {
    /// Seconds from the start of the run to the request's start and end.
    pub(crate) began: f64,
    pub(crate) ended: f64,
    pub(crate) load: &'static str,
    pub(crate) request: String,
    pub(crate) verdict: &'static str,
    pub(crate) why: String,
    /// The faults that count as its cause.
    pub(crate) faults: Vec<String>,
}

/// Everything that is known.
#[derive(Debug)]
pub(crate) struct Board {
    start: Instant,
    patience: Duration,
    known: Mutex<Known>,
}

/// What [`Board`] keeps behind its lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) played: Vec<Played>,
    pub(crate) calm: Tally,
    pub(crate) loads: BTreeMap<Load, Tally>,
    /// How often a clean failure gave each reason.
    pub(crate) reasons: BTreeMap<(Load, String), u64>,
    pub(crate) cases: Vec<Case>,
}

impl Board {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            start: Instant::now(),
            patience,
            known: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is known by now.
    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A fault begins. Gives its number.
    pub(crate) fn begin(&self, kind: Kind) -> usize {
        let mut known = self.lock();
        known.played.push(Played {
            kind,
            began: Instant::now(),
            ended: None,
            recovery: None,
            tally: Tally::default(),
        });
        known.played.len() - 1
    }

    /// The fault of that number is over.
    pub(crate) fn end(&self, number: usize) {
        if let Some(played) = self.lock().played.get_mut(number) {
            played.ended = Some(Instant::now());
        }
    }

    /// A request that began after the fault of that number went well.
    pub(crate) fn recovered(&self, number: usize) {
        if let Some(played) = self.lock().played.get_mut(number)
            && let Some(ended) = played.ended
        {
            played.recovery.get_or_insert_with(|| ended.elapsed());
        }
    }

    /// Notes how a request ended that began, or last gave a sign of life, at `since`.
    pub(crate) fn note(
        &self,
        load: Load,
        request: impl FnOnce() -> String,
        since: Instant,
        verdict: &Verdict,
    ) {
        let now = Instant::now();
        let (from, to) = match verdict {
            // What hangs was caught when it fell silent.
            Verdict::Hung(_) => (since.checked_sub(BLAME).unwrap_or(since), since + BLAME),
            _ => (since.max(now.checked_sub(BLAME).unwrap_or(now)), now),
        };
        let mut known = self.lock();
        known.loads.entry(load).or_default().count(verdict);
        let mut causes = Vec::new();
        let start = self.start;
        for played in known.played.iter_mut().rev().take(50) {
            if played.began <= to && played.felt_until().is_none_or(|until| until >= from) {
                played.tally.count(verdict);
                let began = played.began.duration_since(start).as_secs_f64();
                causes.push(format!("{} at {began:.1} s", played.kind.name()));
            }
        }
        if causes.is_empty() {
            known.calm.count(verdict);
        }
        let (word, why) = match verdict {
            Verdict::Ok => return,
            Verdict::Failed(why) => {
                *known.reasons.entry((load, why.clone())).or_default() += 1;
                return;
            }
            Verdict::Hung(why) => ("hung", why),
            Verdict::Truncated(why) => ("truncated", why),
            Verdict::Wrong(why) => ("wrong", why),
        };
        if known.cases.len() < CASES {
            known.cases.push(Case {
                began: since.duration_since(start).as_secs_f64(),
                ended: now.duration_since(start).as_secs_f64(),
                load: load.name(),
                request: request(),
                verdict: word,
                why: why.clone(),
                faults: causes,
            });
        }
    }

    /// How much of the time since `since` no fault was active.
    fn calm_since(&self, since: Instant) -> Duration {
        let now = Instant::now();
        let known = self.lock();
        let mut calm = Duration::ZERO;
        // Backwards from now, over faults by their begin: `until` is the earliest active moment.
        let mut until = now;
        let mut spans: Vec<(Instant, Instant)> = known
            .played
            .iter()
            .rev()
            .take(200)
            .map(|played| (played.began, played.ended.unwrap_or(now)))
            .filter(|(_, ended)| *ended > since)
            .collect();
        drop(known);
        spans.sort_by_key(|(_, ended)| std::cmp::Reverse(*ended));
        for (began, ended) in spans {
            calm += until.saturating_duration_since(ended.max(since));
            until = until.min(began);
        }
        calm + until.saturating_duration_since(since)
    }

    /// Returns once what has been silent since `since` counts as hung; `answered` says that the head
    /// of its answer has come.
    pub(crate) async fn out_of_patience(&self, since: Instant, answered: bool) {
        let patience = if answered {
            self.patience.min(ANSWERED)
        } else {
            self.patience
        };
        loop {
            let calm = self.calm_since(since);
            if calm >= patience || since.elapsed() >= ALL_PATIENCE {
                return;
            }
            let left = patience
                .saturating_sub(calm)
                .min(ALL_PATIENCE.saturating_sub(since.elapsed()));
            tokio::time::sleep(left + Duration::from_millis(10)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(milliseconds: u64) -> Instant {
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(milliseconds))
            .unwrap_or(now)
    }

    fn board(faults: &[(u64, Option<u64>)]) -> Board {
        let board = Board::new(PATIENCE);
        for (began, ended) in faults {
            let number = board.begin(Kind::Reset);
            let mut known = board.lock();
            known.played[number].began = ago(*began);
            known.played[number].ended = ended.map(ago);
        }
        board
    }

    #[test]
    fn the_clock_of_a_request_stands_still_while_a_fault_is_active() {
        for (faults, calm) in [
            (&[][..], 1_000),
            (&[(800, Some(600))], 800),
            // One within another, and two that overlap.
            (&[(900, Some(500)), (800, Some(700))], 600),
            (&[(900, Some(600)), (700, Some(400))], 500),
            // One that began before, and one that goes on.
            (&[(5_000, Some(900)), (100, None)], 800),
            (&[(5_000, None)], 0),
        ] {
            let measured = board(faults).calm_since(ago(1_000)).as_millis();
            assert!(measured.abs_diff(calm) < 50, "{faults:?}: {measured}");
        }
    }

    #[test]
    fn a_request_counts_for_the_faults_of_its_last_seconds() {
        let board = board(&[(60_000, Some(59_000)), (1_000, Some(900)), (10, None)]);
        board.known.lock().expect("nobody panicked").played[0].recovery = Some(Duration::ZERO);
        let words = || "GET /".to_owned();
        let wrong = Verdict::Wrong("why".to_owned());
        board.note(Load::Get, words, ago(5_000), &wrong);
        board.note(Load::Get, words, ago(5), &Verdict::Ok);
        let known = board.known();
        let tallies: Vec<_> = known.played.iter().map(|played| played.tally).collect();
        let counted = |tally: &Tally| (tally.ok, tally.wrong);
        // The second fault has not been recovered from.
        let counts: Vec<_> = tallies.iter().map(counted).collect();
        assert_eq!(counts, [(0, 0), (1, 1), (1, 1)]);
        assert_eq!(known.calm, Tally::default());
        assert_eq!(known.cases.len(), 1);
        assert_eq!(known.cases[0].faults.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_end_hangs_once_its_calm_time_is_over() {
        let fault = &[(200_000, None)][..];
        for (faults, silent, answered, hangs) in [
            (&[][..], 0, true, false),
            (&[], 25_000, true, true),
            (&[], 25_000, false, false),
            (&[], 40_000, false, true),
            (fault, 60_000, true, false),
            (fault, 60_000, false, false),
            (fault, 90_000, true, true),
            (fault, 90_000, false, true),
        ] {
            let board = board(faults);
            let waited = board.out_of_patience(ago(silent), answered);
            let waited = tokio::time::timeout(Duration::from_millis(1), waited).await;
            assert_eq!(waited.is_ok(), hangs, "{faults:?} {silent} {answered}");
        }
    }
}
