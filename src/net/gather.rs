//! When a flush may wait.
//!
//! HTTP/2 flushes after each frame of a body, and frames have 16 KiB or 32: by itself that is a system
//! call and a TCP segment for each. Whoever writes a stream can gather what is there together.

use std::io::IoSlice;
use std::task::Context;

/// The payload of a frame that is a part of a large body. HTTP/2 writes it beside its head; smaller
/// frames, each of which somebody may wait for, come as one piece.
const LARGE: usize = 8 << 10;

/// What has been taken in and not been flushed.
///
/// A flush in the midst of much is put off until whoever flushed is polled again, for which it is
/// woken: the streams that write have had a turn by then. It must flush whenever it is polled, as
/// HTTP/2 does.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// What is gathered is written when it is as much, in bytes.
    enough: usize,
    held: usize,
    /// Whether a frame of a body was the last of it, since a flush was put off.
    has_frame: bool,
}

impl Gathered {
    /// Puts flushes off up to `enough` bytes.
    pub(crate) fn up_to(enough: usize) -> Self {
        Self {
            enough,
            held: 0,
            has_frame: false,
        }
    }

    /// Takes note that `count` bytes of `bufs` were taken in.
    pub(crate) fn took(&mut self, bufs: &[IoSlice<'_>], count: usize) {
        self.held += count;
        self.has_frame = bufs.get(1).is_some_and(|payload| payload.len() >= LARGE);
    }

    /// Whether this flush is put off; then the task of `cx` is woken to flush again.
    pub(crate) fn may_wait(&mut self, cx: &Context<'_>) -> bool {
        let may = self.has_frame && self.held < self.enough;
        if may {
            self.has_frame = false;
            cx.waker().wake_by_ref();
        }
        may
    }

    /// Takes note that everything has been flushed.
    pub(crate) fn flushed(&mut self) {
        *self = Self::up_to(self.enough);
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

    /// A write that HTTP/2 makes, or none.
    #[derive(Clone, Copy)]
    enum Write {
        None,
        /// Of frames in one piece.
        Small(usize),
        /// Of a frame's head and its payload.
        Frame(usize),
    }

    use Write::{Frame, None, Small};

    /// Whether the flushes waited that follow these writes; each that did has woken.
    fn waits(writes: &[Write]) -> Vec<bool> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut gathered = Gathered::up_to(112 << 10);
        let mut waited = Vec::new();
        for written in writes {
            let (head, payload) = match *written {
                None => (0, 0),
                Small(length) => (length, 0),
                Frame(length) => (9, length),
            };
            let (head, payload) = (vec![0; head], vec![0; payload]);
            let both = [IoSlice::new(&head), IoSlice::new(&payload)];
            let bufs = &both[..if payload.is_empty() { 1 } else { 2 }];
            if !matches!(written, None) {
                gathered.took(bufs, head.len() + payload.len());
            }
            let may = gathered.may_wait(&Context::from_waker(&waker));
            if !may {
                gathered.flushed();
            }
            waited.push(may);
        }
        let times = waited.iter().filter(|waited| **waited).count();
        assert_eq!(woken.0.load(Ordering::Relaxed), times);
        waited
    }

    const FULL: Write = Frame(16 << 10);

    #[test]
    fn small_answers_do_not_wait_however_many() {
        let waited = waits(&[Small(1), Small(20 << 10), Frame(LARGE - 1), Small(1)]);
        assert_eq!(waited, [false; 4]);
    }

    #[test]
    fn frames_wait_for_each_other_until_they_are_enough() {
        let waited = waits(&[FULL; 8]);
        assert_eq!(waited, [true, true, true, true, true, true, false, true]);
    }

    #[test]
    fn nothing_waits_twice() {
        let waited = waits(&[FULL, None, FULL, Frame(LARGE), None, None]);
        assert_eq!(waited, [true, false, true, true, false, false]);
    }

    #[test]
    fn a_small_answer_takes_along_what_waits() {
        assert_eq!(waits(&[FULL, Small(13), FULL]), [true, false, true]);
    }
}
