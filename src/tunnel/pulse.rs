//! Whether the far side still speaks: when its last byte arrived, and whether that is in doubt.
//!
//! Bytes are noted beneath TLS and above the relay's frames: the relay answers its own pings, and
//! so proves only itself, while each of these bytes was sent by the cluster's side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// In the place of a time that has not come.
const NOT_YET: u64 = u64::MAX;

/// The far side's signs of life.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    /// When the last byte arrived, in microseconds after the start.
    heard: AtomicU64,
    /// When the first byte arrived after the far side was last asked, or [`NOT_YET`].
    answered: AtomicU64,
    /// When the stream last took a part of a body since then.
    taken: AtomicU64,
    doubted: AtomicBool,
    changed: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl Pulse {
    /// When the last byte arrived.
    pub(super) fn heard(&self) -> Instant {
        self.instant(self.heard.load(Ordering::Relaxed))
    }

    /// `time`, in the form in which it fits an atomic.
    pub(super) fn micros(&self, time: Instant) -> u64 {
        u64::try_from((time - self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// The time that [`Pulse::micros`] was given.
    pub(super) fn instant(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    fn hear(&self) {
        let now = self.micros(Instant::now());
        self.heard.store(now, Ordering::Relaxed);
        if self.is_asked() {
            self.answered.store(now, Ordering::Relaxed);
        }
        if self.doubted.load(Ordering::Relaxed) {
            self.doubted.store(false, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
    }

    /// Asks the far side for a sign of life, from `now` on.
    pub(super) fn ask(&self, now: Instant) {
        self.taken.store(self.micros(now), Ordering::Relaxed);
        self.answered.store(NOT_YET, Ordering::Relaxed);
    }

    /// When it first spoke after it was asked, if it has.
    pub(super) fn answered(&self) -> Option<Instant> {
        let answered = self.answered.load(Ordering::Relaxed);
        (answered != NOT_YET).then(|| self.instant(answered))
    }

    fn is_asked(&self) -> bool {
        self.answered.load(Ordering::Relaxed) == NOT_YET
    }

    /// Says that the stream has taken a part of a body, which is of interest only while the far
    /// side owes an answer.
    pub(super) fn take(&self) {
        if self.is_asked() {
            let now = self.micros(Instant::now());
            self.taken.store(now, Ordering::Relaxed);
        }
    }

    /// When the stream last took a part of a body, or when the far side was asked.
    pub(super) fn taken(&self) -> Instant {
        self.instant(self.taken.load(Ordering::Relaxed))
    }

    /// Says that the far side should have spoken by now. The next byte takes it back.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Returns once the far side is in doubt, or once it is not, as `doubted` says.
    ///
    /// Cancel safe.
    pub(super) async fn until(&self, doubted: bool) {
        loop {
            let changed = self.changed.notified();
            if self.is_doubted() == doubted {
                return;
            }
            changed.await;
        }
    }
}

/// A stream whose bytes are signs of life.
#[derive(Debug)]
pub(super) struct Felt<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Felt<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            pulse: Arc::default(),
        }
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Felt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.hear();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Felt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
