//! Which faults strike, and when: all of it follows from the seed.

use std::time::Duration;

use super::kind::{Kind, Lasting};
use super::random::Random;

/// When the first fault strikes, after the load has begun.
const FIRST: Duration = Duration::from_secs(2);
/// How long nothing strikes at the end, so that what the last fault did is seen.
const LAST: Duration = Duration::from_secs(5);

/// Once in so many rounds a rare kind is among the others.
const RARELY: u32 = 4;

/// A fault to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Tells it from the others of the plan.
    pub(crate) number: usize,
    /// When it strikes, after the load has begun.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    /// How long it lasts; zero for one that strikes and is over.
    pub(crate) length: Duration,
    /// What its details follow from.
    pub(crate) choice: u64,
}

/// The faults of a run of that length, in the order in which they strike.
///
/// Every kind that is not rare comes once before any comes twice.
pub(crate) fn make(seed: u64, kinds: &[Kind], run: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, 1);
    let mut plan = Vec::new();
    let (mut deck, mut decks) = (Vec::new(), 0);
    let mut at = FIRST;
    loop {
        if deck.is_empty() {
            let is_due = |kind: &&Kind| !kind.is_rare() || decks % RARELY == 0;
            deck.extend(kinds.iter().filter(is_due));
            random.shuffle(&mut deck);
            decks += 1;
        }
        let Some(kind) = deck.pop() else { return plan };
        let length = length(kind, &mut random);
        if at + length + LAST > run {
            return plan;
        }
        plan.push(Planned {
            number: plan.len(),
            at,
            kind,
            length,
            choice: random.next(),
        });
        // Once in a while the next one strikes before this one is over.
        at += if random.once_in(10) {
            length / 2 + random.time(100, 300)
        } else {
            length + random.time(300, 1_800)
        };
        if kind == Kind::ClockJump {
            // A client has to find out first, and then to sign in again.
            at += random.time(2_000, 5_000);
        }
    }
}

fn length(kind: Kind, random: &mut Random) -> Duration {
    // Drawn for every kind: what one kind needs moves no other.
    let (short, long, seldom) = (
        random.time(200, 2_000),
        random.time(3_000, 12_000),
        random.once_in(40),
    );
    match kind.lasting() {
        Lasting::Instant => Duration::ZERO,
        Lasting::Some if seldom => long,
        Lasting::Some => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_HOUR: Duration = Duration::from_mins(30);

    #[test]
    fn a_seed_makes_one_plan() {
        let plan = make(7, Kind::ALL, HALF_HOUR);
        assert_eq!(plan, make(7, Kind::ALL, HALF_HOUR));
        assert_ne!(plan, make(8, Kind::ALL, HALF_HOUR));
        // A longer run begins as a shorter one does.
        let short = make(7, Kind::ALL, Duration::from_mins(1));
        assert_eq!(short[..], plan[..short.len()]);
    }

    #[test]
    fn half_an_hour_has_a_thousand_faults_of_every_kind() {
        for seed in 0..20 {
            let plan = make(seed, Kind::ALL, HALF_HOUR);
            assert!(plan.len() >= 1_000, "{} faults", plan.len());
            for kind in Kind::ALL {
                let count = plan.iter().filter(|fault| fault.kind == *kind).count();
                let least = if kind.is_rare() { 5 } else { 20 };
                assert!(count >= least, "{kind:?}: {count}");
            }
        }
    }

    #[test]
    fn faults_come_in_order_and_leave_time_at_the_end() {
        let run = Duration::from_mins(2);
        let plan = make(3, Kind::ALL, run);
        assert!(plan.is_sorted_by_key(|fault| fault.at));
        assert!(
            plan.iter()
                .all(|fault| fault.at + fault.length + LAST <= run)
        );
    }
}
