//! The signs of life of a request, and what is known of it should it hang.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::board::{Board, Verdict};

/// What Kubernetes tells requests apart by. arcproxy's log has it.
const ID: HeaderName = HeaderName::from_static("audit-id");

/// The number of the next request.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// When a request last moved.
#[derive(Debug)]
pub(super) struct Alive {
    id: u64,
    since: Mutex<Instant>,
    answered: AtomicBool,
}

impl Alive {
    pub(super) fn new() -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            since: Mutex::new(Instant::now()),
            answered: AtomicBool::new(false),
        }
    }

    /// Names the request by its headers.
    pub(super) fn name(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::try_from(format!("soak-{}", self.id)) {
            headers.insert(ID, id);
        }
    }

    /// It has moved.
    pub(super) fn moved(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The head of its answer has come.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.moved();
    }

    /// When it did last.
    pub(super) fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once it counts as hung, for want of `what`.
    pub(super) async fn stalled(&self, board: &Board, what: &str) -> Verdict {
        loop {
            let (since, answered) = (self.since(), self.answered.load(Ordering::Relaxed));
            board.out_of_patience(since, answered).await;
            if self.since() == since {
                let head = if answered { "a" } else { "no" };
                return Verdict::Hung(format!("no {what}, {head} head; soak-{}", self.id));
            }
        }
    }
}
