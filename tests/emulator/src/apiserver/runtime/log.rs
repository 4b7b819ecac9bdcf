//! A container's log: what its main process wrote, or what a process of its image would write.
//!
//! Made-up lines are computed when somebody reads: nothing runs for a log that nobody looks at.
//! Keeping, reading and following share their numbering of lines, hence one file. A reader that falls behind what is kept misses lines, as after a rotation.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::LogOptions;
use super::chatter::{Chatter, OPENING};
use crate::http::{Body, BodyError};

/// How many lines are kept.
const LINES: usize = 4096;

/// How many bytes are kept.
const BYTES: usize = 4 * 1024 * 1024;

/// The longest line; longer ones are split, as container runtimes do.
pub(super) const LINE: usize = 16 * 1024;

/// How long after each other made-up lines come.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Line {
    at: SystemTime,
    text: Bytes,
}

#[derive(Debug)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the first line kept, counted from the start of the container.
    first: u64,
    /// How many lines have been made up.
    made: u64,
}

/// The log of one container.
#[derive(Debug)]
pub(crate) struct Log {
    kept: Mutex<Kept>,
    written: watch::Sender<()>,
    chatter: Chatter,
    started: Instant,
    started_at: SystemTime,
    /// No more lines come after this.
    ended: CancellationToken,
}

impl Log {
    /// A log that starts now and ends with `ended`.
    pub(super) fn new(chatter: Chatter, ended: CancellationToken) -> Self {
        Self {
            kept: Mutex::new(Kept {
                lines: VecDeque::new(),
                bytes: 0,
                first: 0,
                made: 0,
            }),
            written: watch::Sender::new(()),
            chatter,
            started: Instant::now(),
            started_at: SystemTime::now(),
            ended,
        }
    }

    /// Adds a line, without its line end.
    pub(super) fn write(&self, text: impl Into<Bytes>) {
        let mut kept = self.caught_up();
        kept.push(Line {
            at: SystemTime::now(),
            text: text.into(),
        });
        drop(kept);
        self.written.send_replace(());
    }

    /// Ends the log: readers that follow it are done.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// The log as the body of an answer.
    pub(super) fn body(self: &Arc<Self>, options: &LogOptions) -> Body {
        let reading = Reading {
            cursor: self.start(options),
            log: Arc::clone(self),
            written: self.written.subscribe(),
            follow: options.follow,
            timestamps: options.timestamps,
            left: options.limit_bytes.unwrap_or(usize::MAX),
        };
        let frames = stream::unfold(reading, |mut reading| async move {
            let bytes = reading.next().await?;
            Some((Ok::<_, BodyError>(Frame::data(bytes)), reading))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// What is written from now on, as it comes.
    pub(super) fn follow(self: &Arc<Self>) -> Reading {
        let kept = self.caught_up();
        Reading {
            cursor: kept.end(),
            log: Arc::clone(self),
            written: self.written.subscribe(),
            follow: true,
            timestamps: false,
            left: usize::MAX,
        }
    }

    /// The number of the first line that `options` ask for.
    fn start(&self, options: &LogOptions) -> u64 {
        let kept = self.caught_up();
        let mut start = kept.first;
        if let Some(tail) = options.tail_lines {
            let tail = u64::try_from(tail).unwrap_or(u64::MAX);
            start = start.max(kept.end().saturating_sub(tail));
        }
        let since = options
            .since_seconds
            .and_then(|seconds| SystemTime::now().checked_sub(Duration::from_secs(seconds)));
        if let Some(since) = since {
            let older = kept.lines.partition_point(|line| line.at < since);
            start = start.max(kept.first + older as u64);
        }
        start
    }

    fn caught_up(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.chatter == Chatter::Silent || self.ended.is_cancelled() {
            return kept;
        }
        let due = self.started.elapsed().as_secs() / PERIOD.as_secs();
        let due = due + OPENING;
        // Lines that would only push each other out need not be made.
        let skipped = due.saturating_sub(kept.made).saturating_sub(LINES as u64);
        if skipped > 0 {
            kept.first = kept.end() + skipped;
            kept.lines.clear();
            kept.bytes = 0;
            kept.made += skipped;
        }
        while kept.made < due {
            let number = kept.made;
            let at = self.started_at + Self::offset(number);
            kept.push(Line {
                at,
                text: self.chatter.line(number, at).into(),
            });
            kept.made += 1;
        }
        kept
    }

    /// When line `number` is written, after the start.
    fn offset(number: u64) -> Duration {
        PERIOD * u32::try_from((number + 1).saturating_sub(OPENING)).unwrap_or(u32::MAX)
    }

    /// Waits for the next line; `false` when none will come.
    async fn more(&self, written: &mut watch::Receiver<()>, made: u64) -> bool {
        let due = async {
            if self.chatter == Chatter::Silent {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(self.started + Self::offset(made)).await;
        };
        tokio::select! {
            biased;
            changed = written.changed() => changed.is_ok(),
            () = self.ended.cancelled() => false,
            () = due => true,
        }
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let dropped = self.lines.pop_front().map_or(0, |line| line.text.len());
            self.bytes -= dropped;
            self.first += 1;
        }
    }
}

/// Somebody who reads a log.
#[derive(Debug)]
pub(super) struct Reading {
    log: Arc<Log>,
    cursor: u64,
    written: watch::Receiver<()>,
    follow: bool,
    timestamps: bool,
    left: usize,
}

impl Reading {
    /// The next lines with their line ends; `None` at the end of the log.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left == 0 {
                return None;
            }
            // Marked as seen before looking, so that a line in between wakes the wait below.
            self.written.mark_unchanged();
            let (lines, made) = self.ready();
            if !lines.is_empty() {
                let length = lines.len().min(self.left);
                self.left -= length;
                return Some(Bytes::from(lines).slice(..length));
            }
            if !self.follow {
                return None;
            }
            if !self.log.more(&mut self.written, made).await {
                self.follow = false;
            }
        }
    }

    fn ready(&mut self) -> (Vec<u8>, u64) {
        let kept = self.log.caught_up();
        let skip = self.cursor.saturating_sub(kept.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut text = Vec::new();
        for line in kept.lines.iter().skip(skip) {
            if self.timestamps {
                let at = Timestamp::try_from(line.at).unwrap_or_default();
                text.extend_from_slice(format!("{at:.9} ").as_bytes());
            }
            text.extend_from_slice(&line.text);
            text.push(b'\n');
        }
        self.cursor = kept.end();
        (text, kept.made)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    async fn text(body: Body) -> String {
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_made_up_as_time_passes() {
        let log = Arc::new(Log::new(Chatter::Service, CancellationToken::new()));
        let whole = LogOptions::default();
        assert_eq!(text(log.body(&whole)).await.lines().count(), 3);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(text(log.body(&whole)).await.lines().count(), 103);
        let tail = LogOptions {
            tail_lines: Some(1),
            ..LogOptions::default()
        };
        assert!(text(log.body(&tail)).await.ends_with("heartbeat seq=99\n"));
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!(text(log.body(&whole)).await.lines().count(), LINES);
        assert!(
            text(log.body(&tail))
                .await
                .ends_with("heartbeat seq=1000099\n")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn followers_see_lines_as_they_come_and_the_end() {
        let log = Arc::new(Log::new(Chatter::Service, CancellationToken::new()));
        let mut reading = log.follow();
        let before = Instant::now();
        let line = reading.next().await.unwrap();
        assert!(line.ends_with(b"heartbeat seq=0\n"));
        assert_eq!(before.elapsed().as_secs(), 1);
        log.write("from a process");
        assert_eq!(reading.next().await.unwrap(), "from a process\n");
        log.end();
        assert_eq!(reading.next().await, None);
    }

    #[tokio::test]
    async fn limits_and_timestamps_apply() {
        let log = Arc::new(Log::new(Chatter::Silent, CancellationToken::new()));
        log.write("one");
        log.write("two");
        let limited = LogOptions {
            limit_bytes: Some(5),
            ..LogOptions::default()
        };
        assert_eq!(text(log.body(&limited)).await, "one\nt");
        let stamped = LogOptions {
            timestamps: true,
            ..LogOptions::default()
        };
        let stamped = text(log.body(&stamped)).await;
        let (at, line) = stamped.lines().next().unwrap().split_once(' ').unwrap();
        assert_eq!(line, "one");
        assert!(at.parse::<Timestamp>().is_ok());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let log = Arc::new(Log::new(Chatter::Silent, CancellationToken::new()));
        for _ in 0..LINES * 2 {
            log.write(vec![b'x'; LINE]);
        }
        let whole = text(log.body(&LogOptions::default())).await;
        assert!(whole.len() <= BYTES + LINES);
        assert!(whole.len() > BYTES / 2);
    }
}
