//! Room for connections: how many the system's limit on open files leaves for clients.
//!
//! A request may need a connection to the relay besides its own, so clients get half of what
//! there is. The limit is raised when it is reached, not before: whatever command runs in the
//! foreground inherits it as it was.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the program has open besides connections.
const OTHERS: usize = 64;
/// More than anybody opens, where there is no limit.
const ENOUGH: usize = 1 << 20;
/// What clients get where the limit leaves nothing.
const FEWEST: usize = 16;

/// How many connections there may be.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    total: usize,
    is_full: bool,
}

impl Room {
    /// What the system's limit leaves.
    pub(super) fn new() -> Self {
        let total = places(limit().current);
        Self {
            places: Arc::new(Semaphore::new(total)),
            total,
            is_full: false,
        }
    }

    /// How many connections there may be before the limit is raised.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Takes a place, which is free again when it is dropped. Cancel safe.
    pub(super) async fn take(&mut self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        self.widen();
        if self.places.available_permits() == 0 && !self.is_full {
            // Once: they may come and go at the limit for hours.
            self.is_full = true;
            tracing::warn!(
                connections = self.total,
                "no more local connections until one ends: the limit on open files allows no more"
            );
        }
        let place = self.places.clone().acquire_owned().await;
        place.expect("it is never closed")
    }

    fn widen(&mut self) {
        let Rlimit { current, maximum } = limit();
        let wide = Rlimit {
            current: maximum,
            maximum,
        };
        if current == maximum || setrlimit(Resource::Nofile, wide).is_err() {
            return;
        }
        let total = places(maximum);
        self.places.add_permits(total.saturating_sub(self.total));
        self.total = self.total.max(total);
    }
}

fn limit() -> Rlimit {
    getrlimit(Resource::Nofile)
}

fn places(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok());
    let files = files.unwrap_or(ENOUGH).min(ENOUGH);
    (files.saturating_sub(OTHERS) / 2).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_there_is_goes_to_clients() {
        assert_eq!(places(Some(1024)), 480);
        assert_eq!(places(Some(1)), FEWEST);
        assert!(places(None) > 100_000);
        assert_eq!(places(None), places(Some(u64::MAX)));
    }
}
