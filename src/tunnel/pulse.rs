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

/// The far side's signs of life.
#[derive(Debug)]
pub(super) struct Pulse {
    start: Instant,
    /// When the last byte arrived, in microseconds after the start.
    heard: AtomicU64,
    doubted: AtomicBool,
    changed: Notify,
}

impl Pulse {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            heard: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

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
        if self.doubted.load(Ordering::Relaxed) {
            self.doubted.store(false, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
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
        let pulse = Arc::new(Pulse::new());
        Self { stream, pulse }
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
