//! Timers that fire when they are due.
//!
//! The runtime's own count milliseconds and fire up to two of them late. A path of 50 ms would
//! become one of 53, and everything measured over it would be charged for the difference. A thread
//! that sleeps until the next deadline is woken a tenth of a millisecond late, so this one sleeps
//! for that much less, and watches the clock for the rest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How late a sleeping thread is woken on a machine that has gone idle.
const WAKING: Duration = Duration::from_micros(150);

/// What tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Clock {
    /// The machine, as closely as it can.
    #[default]
    Precise,
    /// The runtime, whose clock tests pause.
    #[cfg(test)]
    Runtime,
}

/// Waits for one deadline after another.
#[derive(Debug)]
pub(super) struct Timer {
    #[cfg_attr(not(test), expect(dead_code, reason = "there is one clock"))]
    clock: Clock,
    #[cfg(test)]
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
    /// What the alarm knows of.
    set: Option<(Instant, Waker)>,
}

impl Timer {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            #[cfg(test)]
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            set: None,
        }
    }

    /// Waits until `deadline`.
    pub(super) async fn until(&mut self, deadline: Instant) {
        poll_fn(|cx| self.poll_until(deadline, cx)).await;
    }

    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if deadline <= Instant::now() {
            self.set = None;
            return Poll::Ready(());
        }
        #[cfg(test)]
        if self.clock == Clock::Runtime {
            if self.sleep.deadline() != deadline {
                self.sleep.as_mut().reset(deadline);
            }
            return Future::poll(self.sleep.as_mut(), cx);
        }
        let is_set = self
            .set
            .as_ref()
            .is_some_and(|(at, waker)| *at == deadline && waker.will_wake(cx.waker()));
        if !is_set {
            ALARM.set(deadline, cx.waker().clone());
            self.set = Some((deadline, cx.waker().clone()));
        }
        Poll::Pending
    }
}

/// Wakes whoever waits, from a thread of its own.
struct Alarm {
    waiting: Mutex<BinaryHeap<Reverse<Waiting>>>,
    earlier: Condvar,
}

struct Waiting {
    until: Instant,
    waker: Waker,
}

static ALARM: LazyLock<&'static Alarm> = LazyLock::new(|| {
    let alarm: &'static Alarm = Box::leak(Box::new(Alarm {
        waiting: Mutex::default(),
        earlier: Condvar::new(),
    }));
    thread::Builder::new()
        .name("alarm".to_owned())
        .spawn(|| alarm.run())
        .expect("a thread can be started");
    alarm
});

impl Alarm {
    fn set(&self, until: Instant, waker: Waker) {
        let mut waiting = self.waiting();
        let is_first = waiting
            .peek()
            .is_none_or(|Reverse(first)| until < first.until);
        waiting.push(Reverse(Waiting { until, waker }));
        drop(waiting);
        if is_first {
            self.earlier.notify_one();
        }
    }

    fn run(&self) {
        let mut due = Vec::new();
        // The deadline that was slept for, which alone is watched: where they follow each other
        // closely, nothing is idle.
        let mut slept_for = None;
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            while let Some(Reverse(first)) = waiting.peek()
                && first.until <= now
            {
                due.extend(waiting.pop());
            }
            if !due.is_empty() {
                drop(waiting);
                for Reverse(Waiting { waker, .. }) in due.drain(..) {
                    waker.wake();
                }
                waiting = self.waiting();
                continue;
            }
            let next = waiting.peek().map(|Reverse(first)| first.until);
            waiting = match next {
                Some(until) if slept_for == Some(until) && until - now <= WAKING => {
                    drop(waiting);
                    thread::yield_now();
                    self.waiting()
                }
                Some(until) => {
                    let wait = until - now;
                    let sleep = wait.checked_sub(WAKING);
                    slept_for = sleep.map(|_| until);
                    self.earlier
                        .wait_timeout(waiting, sleep.unwrap_or(wait))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .earlier
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.until.cmp(&other.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn deadlines_are_kept_in_their_order_however_they_were_set() {
        let start = Instant::now();
        let wait = |milliseconds| async move {
            let deadline = start + Duration::from_millis(milliseconds);
            Timer::new(Clock::Precise).until(deadline).await;
            assert!(Instant::now() >= deadline);
            milliseconds
        };
        let mut waits: futures_util::stream::FuturesUnordered<_> =
            [30, 10, 20, 0].into_iter().map(wait).collect();
        let mut order = Vec::new();
        while let Some(waited) = futures_util::StreamExt::next(&mut waits).await {
            order.push(waited);
        }
        assert_eq!(order, [0, 10, 20, 30]);
    }

    #[tokio::test]
    async fn a_timer_serves_one_deadline_after_another() {
        let mut timer = Timer::new(Clock::Precise);
        for _ in 0..3 {
            let deadline = Instant::now() + Duration::from_millis(2);
            timer.until(deadline).await;
            assert!(Instant::now() >= deadline);
        }
    }
}
