//! Keeping a session fresh.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::Session;
use crate::azure::login::is_due;
use crate::error::{Code, Error};

/// How often the wall clock is looked at: a machine that slept must not wait for a timer that
/// stood still.
const TICK: Duration = Duration::from_secs(5);
/// How far the wall clock may be from where it should be.
const JUMP: Duration = Duration::from_secs(5);
/// The first pause after a renewal.
const AGAIN: Duration = Duration::from_secs(1);
/// The first and the longest pause after a renewal that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

impl Session {
    /// Renews relay credentials and tokens before they end, until it is dropped. Neither waits for
    /// the other: a token may want a person to sign in anew, which takes minutes.
    pub async fn keep_fresh(&self) {
        tokio::join!(self.keep_lease(), self.keep_identity());
    }

    async fn keep_lease(&self) {
        let mut lease = Renewal::default();
        let mut walls = Walls::new();
        loop {
            self.tick().await;
            if walls.have_jumped() {
                // The offset to the server's clock is of before: any answer tells the new one.
                tracing::info!(cluster = self.id.name, "the clock jumped");
                let asked = self.arm.cluster(&self.id).await;
                let answered =
                    asked.map_or_else(|error| error.code() != Code::ArmUnreachable, |_| true);
                if answered {
                    walls = Walls::new();
                }
            }
            if lease.may_try() {
                let renewed = self.refresh_lease().await;
                lease.note("relay credentials", &self.id.name, renewed);
            }
        }
    }

    async fn keep_identity(&self) {
        let mut identity = Renewal::default();
        loop {
            self.tick().await;
            if identity.may_try() {
                let renewed = self.identity.refresh(&self.clock, &self.id).await;
                identity.note("token", &self.id.name, renewed);
            }
        }
    }

    async fn tick(&self) {
        sleep(TICK.min(self.shortest_life() / 10)).await;
    }

    async fn refresh_lease(&self) -> Result<bool, Error> {
        let lease = self.lease();
        if !is_due(self.clock.now(), lease.fetched_unix, lease.expires) {
            return Ok(false);
        }
        self.fetch_after(lease.access.generation)
            .await
            .map(|_| true)
    }

    /// How long the relay credentials live: short lives need a closer look.
    fn shortest_life(&self) -> Duration {
        let lease = self.lease();
        Duration::from_secs(lease.expires.saturating_sub(lease.fetched_unix).max(2))
    }
}

/// Notices that the wall clock went on by more or less than time did: somebody set it, or the
/// machine slept.
struct Walls {
    steady: Instant,
    wall: SystemTime,
}

impl Walls {
    fn new() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn have_jumped(&self) -> bool {
        let expected = self.wall + self.steady.elapsed();
        let apart = match expected.duration_since(SystemTime::now()) {
            Ok(behind) => behind,
            Err(ahead) => ahead.duration(),
        };
        apart > JUMP
    }
}

/// The pauses of one kind of renewal.
#[derive(Default)]
struct Renewal {
    failures: u32,
    /// Renewals one after the other, each due again at once.
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Renewal {
    fn may_try(&self) -> bool {
        self.not_before.is_none_or(|time| time <= Instant::now())
    }

    fn note(&mut self, what: &str, cluster: &str, renewed: Result<bool, Error>) {
        match renewed {
            Ok(false) => *self = Self::default(),
            Ok(true) => {
                tracing::debug!(cluster, "renewed {what}");
                // What is due again as soon as it is new is asked for ever more rarely.
                let pause = AGAIN
                    .saturating_mul(2_u32.saturating_pow(self.in_a_row))
                    .min(BACKOFF.1);
                *self = Self {
                    in_a_row: self.in_a_row.saturating_add(1),
                    not_before: Some(Instant::now() + pause),
                    failures: 0,
                };
            }
            Err(error) => {
                let pause = BACKOFF
                    .0
                    .saturating_mul(2_u32.saturating_pow(self.failures))
                    .min(BACKOFF.1);
                let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(Instant::now() + pause);
                tracing::warn!(cluster, %error, seconds = pause.as_secs_f32(), "cannot renew {what} yet; trying again");
            }
        }
    }
}
