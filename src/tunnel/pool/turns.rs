//! Requests that come together go out in groups.
//!
//! By themselves all of them would be made ready before the first is written. Whatever is behind
//! would then wait for the last of them, and answer all at once.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

/// How many requests a group has.
const GROUP: usize = 16;
/// How often a request lets others go first. A group is written in two turns: hyper takes it in the
/// one and writes it in the other. So this is four groups; what is behind them goes together, and a
/// stream that cannot be written to holds up nobody.
const TURNS: usize = 8;

/// Whose turn it is to give a stream a request.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// How many requests the stream was given since it was last flushed.
    given: AtomicUsize,
}

impl Turns {
    /// Returns when one more request may be given to the stream: at once, or behind those that are
    /// to be written first. They keep their order.
    ///
    /// Cancel safe.
    pub(super) async fn next(&self) {
        for _ in 0..TURNS {
            if self.given.fetch_add(1, Ordering::Relaxed) < GROUP {
                return;
            }
            go_behind().await;
        }
    }

    /// Takes note that the stream has been flushed.
    pub(super) fn written(&self) {
        self.given.store(0, Ordering::Relaxed);
    }
}

/// Lets the tasks go first that are to run by now. Those that do so keep their order, unlike with
/// tokio's own way of yielding.
async fn go_behind() {
    let mut is_behind = false;
    poll_fn(|cx| {
        if is_behind {
            return Poll::Ready(());
        }
        is_behind = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Three groups of requests that come together, as numbers, and what is written, as `None`.
    async fn burst(is_written: bool) -> Vec<Option<usize>> {
        let turns = Arc::new(Turns::default());
        let (happens, mut happened) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..3 * GROUP {
            let (turns, happens) = (turns.clone(), happens.clone());
            tokio::spawn(async move {
                turns.next().await;
                happens.send(Some(number))
            });
        }
        tokio::spawn(async move {
            for _ in 0..if is_written { TURNS } else { 0 } {
                turns.written();
                let _ = happens.send(None);
                go_behind().await;
            }
        });
        let mut all = Vec::new();
        while let Some(event) = happened.recv().await {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn requests_that_come_together_go_in_groups_which_are_written() {
        let all = burst(true).await;
        let mut groups = all.split(Option::is_none);
        for group in 0..3 {
            let expected = (group * GROUP..(group + 1) * GROUP).map(Some);
            let got = groups.next().expect("a group").iter().copied();
            assert!(expected.eq(got), "{all:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_not_written_to_holds_up_nobody() {
        let all = burst(false).await;
        assert!(all.into_iter().eq((0..3 * GROUP).map(Some)));
    }
}
