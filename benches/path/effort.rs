//! How much is measured: enough for figures to compare, or just enough to see that it works.

use std::time::Duration;

/// Sizes and counts of everything that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// What the report calls it.
    pub(crate) name: &'static str,
    /// When the harness is taken for hung; far more than a slow machine needs.
    pub(crate) deadline: Duration,
    /// Rounds of small requests; each round has every contender once.
    pub(crate) rounds: usize,
    /// Small requests of one contender in one round, one after another.
    pub(crate) requests: usize,
    /// Small requests of one contender in one round, 32 at once.
    pub(crate) concurrent_requests: usize,
    /// Rounds of large bodies.
    pub(crate) body_rounds: usize,
    /// The size of a downloaded body.
    pub(crate) body_mib: u64,
    /// The size of an uploaded body.
    pub(crate) upload_mib: u64,
    /// Processes whose memory is measured.
    pub(crate) memory_rounds: usize,
    /// Starts of each kind.
    pub(crate) starts: usize,
    /// Small requests over the long path.
    pub(crate) distant_requests: usize,
    /// Tunnels, and commands in a pod, over the long path.
    pub(crate) distant_openings: usize,
    /// Bodies over the long path.
    pub(crate) long_fat_bodies: usize,
    /// The size of one.
    pub(crate) long_fat_mib: u64,
}

/// How many watches "1,000 watches" are.
pub(crate) const WATCHES: usize = 1000;
/// How many requests are under way at once where many are.
pub(crate) const CONCURRENT: usize = 32;
/// The round-trip time of the long path.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(50);
/// The bandwidth of the narrow path, in bits per second.
pub(crate) const NARROW: u64 = 100_000_000;

impl Effort {
    /// For figures.
    pub(crate) const FULL: Self = Self {
        name: "full",
        deadline: Duration::from_hours(1),
        rounds: 15,
        requests: 2000,
        concurrent_requests: 8000,
        body_rounds: 7,
        body_mib: 512,
        upload_mib: 256,
        memory_rounds: 3,
        starts: 25,
        distant_requests: 60,
        distant_openings: 15,
        long_fat_bodies: 5,
        long_fat_mib: 256,
    };
    /// To see that the harness works.
    pub(crate) const QUICK: Self = Self {
        name: "quick",
        deadline: Duration::from_mins(10),
        rounds: 3,
        requests: 400,
        concurrent_requests: 1600,
        body_rounds: 3,
        body_mib: 64,
        upload_mib: 32,
        memory_rounds: 1,
        starts: 3,
        distant_requests: 10,
        distant_openings: 3,
        long_fat_bodies: 2,
        long_fat_mib: 64,
    };
}
