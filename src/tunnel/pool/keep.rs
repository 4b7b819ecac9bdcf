//! What nobody waits for: a tunnel that is ready for the next upgrade, and the end of those that
//! are not needed any more.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Idle, Inner, Lane, Outgoing, Pool, lock};

/// How long a tunnel beside the first is kept without use.
const UNUSED: Duration = Duration::from_mins(1);
/// The first and the longest pause between looks. A far side that does not keep a tunnel open
/// without a request is asked for one ever more rarely.
const LOOK: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));

impl<B: Outgoing> Pool<B> {
    /// Keeps an HTTP/1.1 tunnel ready for the next upgrade, and ends tunnels that are idle, until
    /// it is dropped. A failure to open one is of no consequence: the upgrade dials for itself.
    pub async fn keep(&self) {
        let mut pause = LOOK.0;
        loop {
            self.inner.retire();
            let missing = !self.inner.has_idle();
            if missing {
                self.inner.prepare().await;
            }
            tokio::select! {
                () = self.inner.spare_wanted.notified() => pause = LOOK.0,
                () = sleep(pause) => if missing {
                    pause = (pause * 2).min(LOOK.1);
                },
            }
        }
    }
}

impl<B: Outgoing> Inner<B> {
    pub(super) fn has_idle(&self) -> bool {
        let idle = lock(&self.idle);
        idle.as_ref()
            .is_some_and(|idle| idle.iter().any(Idle::is_ready))
    }

    async fn prepare(&self) {
        match self.open_upgrade().await {
            Ok(spare) => {
                if let Some(idle) = &mut *lock(&self.idle) {
                    // Behind those that come back from use.
                    idle.insert(0, spare);
                }
            }
            Err(error) => tracing::debug!(%error, "no tunnel is ready for the next upgrade"),
        }
    }

    /// Ends the tunnels that have long carried nothing, but for one of each kind.
    fn retire(&self) {
        let is_old = |since: Instant| since.elapsed() > UNUSED;
        let mut lanes = lock(&self.lanes);
        lanes.retain(Lane::is_open);
        let mut spare = lanes.len().saturating_sub(1);
        lanes.retain(|lane| {
            let retired = spare > 0 && lane.idle_since().is_some_and(is_old);
            spare -= usize::from(retired);
            !retired
        });
        drop(lanes);
        if let Some(idle) = &mut *lock(&self.idle) {
            idle.retain(Idle::is_ready);
            let mut spare = idle.len().saturating_sub(1);
            idle.retain(|tunnel| {
                let retired = spare > 0 && is_old(tunnel.since);
                spare -= usize::from(retired);
                !retired
            });
        }
    }
}
