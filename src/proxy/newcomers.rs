//! Connections that have shown no token yet: how long they may stay, and how many.
//!
//! Any user of the machine can open connections to the listener. Those that show no token within
//! a while are ended; where there are too many at once, the oldest make room for new ones, so
//! that whoever has a token always comes through.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a connection may take to show a token.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it has at the least, however many others come: as long as a busy machine may take
/// over handshakes that all came at once.
const LEAST: Duration = Duration::from_secs(1);

/// The connections that have shown no token.
#[derive(Debug)]
pub(super) struct Newcomers {
    limit: usize,
    waiting: Mutex<Waiting>,
    /// One has left, in whatever way.
    left: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    arrivals: u64,
    /// By arrival.
    present: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// A connection, which may stay until it is [`unwelcome`](Self::unwelcome).
#[derive(Debug)]
pub(super) struct Newcomer {
    all: Arc<Newcomers>,
    number: u64,
    arrived: Instant,
    is_known: AtomicBool,
    pushed_out: CancellationToken,
}

impl Newcomers {
    /// Lets in up to `limit` at a time.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// Lets a connection in, when there is room for it. Cancel safe.
    pub(super) async fn arrive(self: &Arc<Self>) -> Newcomer {
        loop {
            let left = self.left.notified();
            let oldest = {
                let mut waiting = self.lock();
                if waiting.present.len() >= self.limit {
                    waiting.push_out();
                }
                match waiting.present.values().next() {
                    Some((arrived, _)) if waiting.present.len() >= self.limit => *arrived,
                    _ => return self.let_in(&mut waiting),
                }
            };
            tokio::select! {
                () = left => {}
                () = sleep_until(oldest + LEAST) => {}
            }
        }
    }

    fn let_in(self: &Arc<Self>, waiting: &mut Waiting) -> Newcomer {
        let newcomer = Newcomer {
            all: self.clone(),
            number: waiting.arrivals,
            arrived: Instant::now(),
            is_known: AtomicBool::new(false),
            pushed_out: CancellationToken::new(),
        };
        let entry = (newcomer.arrived, newcomer.pushed_out.clone());
        waiting.present.insert(newcomer.number, entry);
        waiting.arrivals += 1;
        newcomer
    }

    fn leave(&self, number: u64) {
        if self.lock().present.remove(&number).is_some() {
            self.left.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Ends the oldest one, if it has had its time.
    fn push_out(&mut self) {
        if let Some(oldest) = self.present.first_entry()
            && oldest.get().0.elapsed() >= LEAST
        {
            oldest.remove().1.cancel();
        }
    }
}

impl Newcomer {
    /// It has shown a token, and may stay for as long as it likes.
    pub(super) fn welcome(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            self.all.leave(self.number);
        }
    }

    /// Completes when it must go. Cancel safe.
    pub(super) async fn unwelcome(&self) {
        let left = PATIENCE.saturating_sub(self.arrived.elapsed());
        tokio::select! {
            () = self.pushed_out.cancelled() => {}
            () = sleep(left) => {}
        }
        if self.is_known.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.all.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_shows_no_token_must_go_and_who_does_may_stay() {
        let all = Arc::new(Newcomers::new(9));
        let (stranger, friend) = (all.arrive().await, all.arrive().await);
        friend.welcome();
        let (mut going, mut staying) = (pin!(stranger.unwelcome()), pin!(friend.unwelcome()));
        for _ in 0..2 {
            assert!((&mut going).now_or_never().is_none());
            advance(PATIENCE / 2).await;
        }
        assert!(going.now_or_never().is_some());
        assert!((&mut staying).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_once_it_has_had_its_time() {
        let all = Arc::new(Newcomers::new(2));
        let (oldest, older) = (all.arrive().await, all.arrive().await);
        assert!(all.arrive().now_or_never().is_none(), "there is no room");
        let newest = all.arrive().await;
        assert!(oldest.arrived.elapsed() >= LEAST);
        assert!(oldest.unwelcome().now_or_never().is_some());
        for other in [&older, &newest] {
            assert!(other.unwelcome().now_or_never().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_or_shows_a_token_makes_room_at_once() {
        let all = Arc::new(Newcomers::new(1));
        let first = all.arrive().await;
        let (second, ()) = tokio::join!(all.arrive(), async { first.welcome() });
        let (third, ()) = tokio::join!(all.arrive(), async { drop(second) });
        assert!(first.arrived.elapsed() < LEAST);
        assert!(third.unwelcome().now_or_never().is_none());
        assert_eq!(all.lock().present.len(), 1);
    }
}
