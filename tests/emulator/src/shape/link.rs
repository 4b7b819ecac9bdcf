//! The time at which bytes leave one direction of a link.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One direction of a link.
///
/// Whoever transmits takes the link for one chunk and comes back for the next, so that many
/// transmitters take turns.
#[derive(Debug, Default)]
pub(super) struct Link {
    free_at: Mutex<Option<Instant>>,
}

impl Link {
    /// How far a transmitter may fall behind and still catch up. Timers fire up to a
    /// millisecond late, and at high rates a chunk takes much less than that.
    const CATCH_UP: Duration = Duration::from_millis(4);

    /// Waits until `bytes` have left over the link at `bits_per_second`; 0 takes no time.
    pub(super) async fn transmit(&self, bytes: usize, bits_per_second: u64) {
        if bits_per_second == 0 {
            return;
        }
        let now = Instant::now();
        let left = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(Self::CATCH_UP).unwrap_or(now);
            let start = match *free_at {
                Some(at) if at >= earliest => at,
                // An idle link owes nothing: there is no burst to save up.
                Some(_) | None => now,
            };
            let bits = u128::from(bytes as u64) * 8;
            let nanos = bits * 1_000_000_000 / u128::from(bits_per_second);
            let left = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            *free_at = Some(left);
            left
        };
        if left > now {
            tokio::time::sleep_until(left).await;
        }
    }
}
