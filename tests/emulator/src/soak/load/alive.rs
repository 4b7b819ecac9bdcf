//! The signs of life of a request that takes its time.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::super::board::Board;

/// When a request last moved.
#[derive(Debug)]
pub(super) struct Alive(Mutex<Instant>);

impl Alive {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It has moved.
    pub(super) fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When it did last.
    pub(super) fn since(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once it counts as hung.
    pub(super) async fn stalled(&self, board: &Board) {
        loop {
            let since = self.since();
            board.out_of_patience(since).await;
            if self.since() == since {
                return;
            }
        }
    }
}
