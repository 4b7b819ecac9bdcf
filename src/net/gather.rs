//! When a flush may wait.
//!
//! HTTP/2 flushes after each frame of a body, and frames have 16 KiB: by itself that is a system
//! call and a TCP segment for each. Whoever writes a stream can gather what is there together.

use std::task::Context;

/// What is gathered is written when it is as much.
const ENOUGH: usize = 112 << 10;
/// What is less goes at once: it is no part of a large body.
pub(crate) const SMALL: usize = 16 << 10;

/// What has been taken in and not been flushed.
///
/// A flush in the midst of much is put off until whoever flushed is polled again, for which it is
/// woken: the streams that write have had a turn by then. It must flush whenever it is polled, as
/// HTTP/2 does.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    held: usize,
    /// How much of it since a flush was put off.
    fresh: usize,
}

impl Gathered {
    /// Takes note of `count` bytes that were taken in.
    pub(crate) fn took(&mut self, count: usize) {
        self.held += count;
        self.fresh += count;
    }

    /// Whether this flush is put off; then the task of `cx` is woken to flush again.
    pub(crate) fn may_wait(&mut self, cx: &Context<'_>) -> bool {
        let may = self.fresh >= SMALL && self.held < ENOUGH;
        if may {
            self.fresh = 0;
            cx.waker().wake_by_ref();
        }
        may
    }

    /// Takes note that everything has been flushed.
    pub(crate) fn flushed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// How often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether flushes after these amounts waited; each that did has woken.
    fn waits(amounts: &[usize]) -> Vec<bool> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut gathered = Gathered::default();
        let waited: Vec<_> = amounts
            .iter()
            .map(|amount| {
                gathered.took(*amount);
                let may = gathered.may_wait(&Context::from_waker(&waker));
                if !may {
                    gathered.flushed();
                }
                may
            })
            .collect();
        let times = waited.iter().filter(|waited| **waited).count();
        assert_eq!(woken.0.load(Ordering::Relaxed), times);
        waited
    }

    #[test]
    fn what_is_small_goes_at_once() {
        assert_eq!(waits(&[SMALL - 1, 1, SMALL - 1]), [false, false, false]);
    }

    #[test]
    fn frames_wait_for_each_other_until_they_are_enough() {
        let frames = [SMALL; 8];
        let waited = waits(&frames);
        assert_eq!(waited, [true, true, true, true, true, true, false, true]);
    }

    #[test]
    fn what_nothing_more_comes_behind_goes_the_second_time() {
        assert_eq!(
            waits(&[SMALL, 0, SMALL, 13, 13]),
            [true, false, true, false, false]
        );
    }
}
