//! Keeping a session fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Reason, Session};
use crate::azure::login::is_due;
use crate::error::{Code, Error};

/// How often the wall clock is looked at: a machine that slept must not wait for a timer that
/// stood still.
const TICK: Duration = Duration::from_secs(5);
/// The first pause after a renewal.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest first pause after a renewal that failed, and the longest of all; each is drawn from
/// its whole range, so that many machines do not come back together.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// The pause after a refusal that stays until somebody changes something. Requests that need a new
/// tunnel ask for themselves.
const REFUSED: Duration = Duration::from_mins(10);

impl Session {
    /// Renews relay credentials and tokens before they end, until it is dropped. Neither waits for
    /// the other: a token may want a person to sign in anew, which takes minutes.
    pub async fn keep_fresh(self: &Arc<Self>) {
        tokio::join!(self.keep_lease(), self.keep_identity());
    }

    async fn keep_lease(self: &Arc<Self>) {
        let mut lease = Renewal::default();
        loop {
            self.tick().await;
            if self.clock.has_jumped() {
                // Any answer tells the new offset to the server's clock.
                tracing::info!(cluster = self.id.name, "the clock jumped");
                if let Err(error) = self.arm.cluster(&self.id).await {
                    tracing::debug!(%error, "Azure does not tell the time");
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
            let reason = tokio::select! {
                () = self.tick() => Reason::Due,
                () = self.refused.notified(), if identity.may_try() => Reason::Refused,
            };
            if identity.may_try() {
                let renewed = self.identity.refresh(&self.clock, &self.id, reason).await;
                identity.note("token", &self.id.name, renewed);
            }
        }
    }

    async fn tick(&self) {
        sleep(TICK.min(self.shortest_life() / 10)).await;
    }

    async fn refresh_lease(self: &Arc<Self>) -> Result<bool, Error> {
        let lease = self.lease();
        if !is_due(self.clock.now(), lease.fetched_unix, lease.expires) {
            return Ok(false);
        }
        self.fetch_after(lease.access.generation, Reason::Due)
            .await
            .map(|_| true)
    }

    /// How long the relay credentials live: short lives need a closer look.
    fn shortest_life(&self) -> Duration {
        let lease = self.lease();
        Duration::from_secs(lease.expires.saturating_sub(lease.fetched_unix).max(2))
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
                let pause = match error.code() {
                    code if is_lasting(code) => REFUSED,
                    // The service has asked for quiet.
                    Code::Throttled => BACKOFF.1,
                    _ => longest_pause(self.failures)
                        .mul_f64(fastrand::f64())
                        .max(AGAIN),
                };
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(Instant::now() + pause);
                tracing::warn!(cluster, %error, seconds = pause.as_secs_f32(), "cannot renew {what} yet; trying again");
            }
        }
    }
}

/// The longest pause after a failure that came after `failures` others in a row.
fn longest_pause(failures: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(BACKOFF.1)
}

/// Whether a refusal stays until somebody changes something.
fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterNotFound
            | Code::ResourceGroupNotFound
            | Code::SubscriptionNotFound
            | Code::AccessDenied
            | Code::SignInRefused
            | Code::NotSignedIn
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code) -> Result<bool, Error> {
        Err(Error::new(code, "it failed"))
    }

    /// How long until the next attempt after `code`, `times` in a row.
    fn pause(code: Code, times: u32) -> Duration {
        let mut renewal = Renewal::default();
        for _ in 0..times {
            renewal.note("it", "edge", failed(code));
        }
        let next = renewal.not_before.expect("a pause");
        next.saturating_duration_since(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_ceiling_and_differ() {
        let pauses: Vec<_> = (1..=60).map(|_| pause(Code::ArmUnreachable, 30)).collect();
        assert!(pauses.iter().all(|pause| *pause <= BACKOFF.1));
        assert!(pauses.iter().all(|pause| *pause >= AGAIN));
        // Drawn from the whole range.
        assert!(pauses.iter().any(|pause| *pause < BACKOFF.1 / 2));
        assert!(pauses.iter().any(|pause| *pause > BACKOFF.1 / 2));
        assert!(pause(Code::ArmUnreachable, 1) <= BACKOFF.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_refused_is_asked_for_rarely_and_a_success_forgets_it() {
        assert_eq!(pause(Code::ClusterNotFound, 1), REFUSED);
        assert_eq!(pause(Code::AccessDenied, 5), REFUSED);
        let mut renewal = Renewal::default();
        renewal.note("it", "edge", failed(Code::AccessDenied));
        assert!(!renewal.may_try());
        renewal.note("it", "edge", Ok(false));
        assert!(renewal.may_try());
    }
}
