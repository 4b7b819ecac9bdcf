//! Pings of our own on an HTTP/2 connection.
//!
//! hyper sends pings by its own timer only, and takes a connection for dead when the answer is
//! late though other bytes arrive: behind a full window on a slow link that is a mistake. So the
//! pings are put between the frames that hyper writes (RFC 9113, section 6.7). What answers them
//! needs no reading: every byte that arrives is a sign of life, and hyper passes over answers to
//! pings that it did not send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::turns::Turns;
use crate::net::Gathered;
use crate::tunnel::pulse::Pulse;

/// A ping on stream 0; what it says is of no consequence.
const PING: [u8; 17] = *b"\0\0\x08\x06\0\0\0\0\0arcproxy";
/// What a client says before its first frame.
const PREFACE: usize = 24;
const HEADER: usize = 9;
/// How much of bodies goes out at once, in bytes: what one read of a client's socket brings.
const ENOUGH: usize = 96 << 10;

/// What the connection's owner wants of its stream.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    ping: AtomicBool,
    end: AtomicBool,
    turns: Arc<Turns>,
    waker: AtomicWaker,
    gone: CancellationToken,
}

impl Wishes {
    /// Whose turn it is to give the stream a request.
    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Sends a ping as soon as no frame is half written.
    pub(super) fn ping(&self) {
        self.ping.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends the stream with an error: the far side is silent.
    pub(super) fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Cancelled once the stream has been dropped.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }
}

/// A stream that hyper writes HTTP/2 to, with pings in between.
#[derive(Debug)]
pub(super) struct Pinger<S> {
    stream: S,
    wishes: Arc<Wishes>,
    pulse: Arc<Pulse>,
    frames: Frames,
    /// How much of a ping is still to be written.
    unsent: usize,
    unflushed: bool,
    gathered: Gathered,
}

impl<S> Pinger<S> {
    /// `stream` before its first byte. `pulse` learns when it takes parts of bodies.
    pub(super) fn new(stream: S, wishes: Arc<Wishes>, pulse: Arc<Pulse>) -> Self {
        Self {
            stream,
            wishes,
            pulse,
            frames: Frames::new(),
            unsent: 0,
            unflushed: false,
            gathered: Gathered::up_to(ENOUGH),
        }
    }

    /// An error once the stream is to end. Whatever waits here is woken by the next wish: a writer
    /// may wait alone, since HTTP/2 does not read while it has an answer to write.
    fn check(&self, cx: &mut Context<'_>) -> io::Result<()> {
        self.wishes.waker.register(cx.waker());
        if self.wishes.end.load(Ordering::Relaxed) {
            let why = "the cluster's side has fallen silent";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Pinger<S> {
    /// Writes a ping if one is wanted and may stand here.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        if self.unsent == 0 {
            let may = self.frames.is_between() && self.wishes.ping.load(Ordering::Relaxed);
            if !may {
                return Poll::Ready(Ok(()));
            }
            self.wishes.ping.store(false, Ordering::Relaxed);
            self.unsent = PING.len();
        }
        while self.unsent > 0 {
            let rest = &PING[PING.len() - self.unsent..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent -= count;
        }
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    fn pass<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>, count: usize) {
        let mut left = count;
        let mut has_data = false;
        for part in parts {
            let taken = left.min(part.len());
            has_data |= self.frames.pass(&part[..taken]);
            left -= taken;
        }
        if has_data {
            self.pulse.take();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pinger<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(pinged) = this.poll_ping(cx) {
            pinged?;
        }
        if this.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut this.stream).poll_flush(cx)
        {
            flushed?;
            this.gathered.flushed();
            this.unflushed = false;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pinger<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ping(cx))?;
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.gathered.took(&[io::IoSlice::new(buf)], count);
        self.pass(std::iter::once(buf), count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ping(cx))?;
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.gathered.took(bufs, count);
        self.pass(bufs.iter().map(|buf| &**buf), count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ping(cx))?;
        // A ping does not wait.
        if !self.unflushed && self.gathered.may_wait(cx) {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.gathered.flushed();
        self.wishes.turns.written();
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Pinger<S> {
    fn drop(&mut self) {
        self.wishes.gone.cancel();
    }
}

/// Where in a client's HTTP/2 bytes its writer is.
#[derive(Debug)]
struct Frames {
    /// How much of the preface or of a frame's payload is to come.
    skip: usize,
    header: [u8; HEADER],
    /// How much of a frame's header has passed.
    have: usize,
    /// No other frame may come now: the first one must be settings, and one with headers is
    /// followed by those that continue it.
    bound: bool,
}

impl Frames {
    const DATA: u8 = 0;
    /// Frames with headers, and the flag that says that no other continues them.
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    const END_HEADERS: u8 = 4;

    fn new() -> Self {
        Self {
            skip: PREFACE,
            // The preface is no data.
            header: [u8::MAX; HEADER],
            have: 0,
            bound: true,
        }
    }

    fn is_between(&self) -> bool {
        self.skip == 0 && self.have == 0 && !self.bound
    }

    /// Follows `bytes`. Whether any of them are of a body: the others, a reset among them, are
    /// taken by a stream that leads nowhere, too.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = false;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                has_data |= self.header[3] == Self::DATA;
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(HEADER - self.have));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                let has_headers = matches!(kind, Self::HEADERS | Self::CONTINUATION);
                self.bound = has_headers && flags & Self::END_HEADERS == 0;
            }
        }
        has_data
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], &vec![6; payload]].concat()
    }

    /// The preface and every frame a client begins with; where a ping may stand behind each.
    fn stream() -> Vec<(Vec<u8>, bool)> {
        vec![
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), false),
            (frame(4, 0, 18), true),
            (frame(Frames::HEADERS, 0, 40), false),
            (frame(Frames::CONTINUATION, 0, 40), false),
            (frame(Frames::CONTINUATION, Frames::END_HEADERS, 4), true),
            (frame(0, 0, 300), true),
            (frame(0, 1, 0), true),
        ]
    }

    #[test]
    fn a_ping_may_stand_between_frames_only() {
        for size in [1, 2, 7, 9, 10, 4096] {
            let mut frames = Frames::new();
            for (bytes, may) in stream() {
                let (last, first) = bytes.split_last().expect("bytes");
                for part in first.chunks(size) {
                    frames.pass(part);
                    assert!(!frames.is_between(), "within {bytes:?}");
                }
                frames.pass(&[*last]);
                assert_eq!(frames.is_between(), may, "behind {bytes:?}");
            }
        }
    }

    #[test]
    fn only_what_is_in_bodies_is_data() {
        for size in [1, 7, 9, 4096] {
            let mut frames = Frames::new();
            for (bytes, _) in stream() {
                let (head, payload) = bytes.split_at(HEADER);
                let is_data = head[3] == Frames::DATA && !payload.is_empty();
                let mut has_data = false;
                for part in bytes.chunks(size) {
                    has_data |= frames.pass(part);
                }
                assert_eq!(has_data, is_data, "{bytes:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_ping_waits_for_the_frame_that_is_being_written() {
        let (near, mut far) = duplex(4096);
        let wishes = Arc::new(Wishes::default());
        let mut pinger = Pinger::new(near, wishes.clone(), Arc::default());
        let mut expected = Vec::new();
        for (bytes, may) in stream() {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            pinger.write_all(first).await.expect("writes");
            wishes.ping();
            pinger.flush().await.expect("flushes");
            pinger.write_all(second).await.expect("writes");
            pinger.flush().await.expect("flushes");
            expected.extend(bytes);
            if may {
                expected.extend(PING);
            }
        }
        drop(pinger);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("reads");
        // Those that had to wait are one.
        assert_eq!(got, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_waits_alone_ends_when_told() {
        let (near, _far) = duplex(16);
        let wishes = Arc::new(Wishes::default());
        let mut pinger = Pinger::new(near, wishes.clone(), Arc::default());
        let writing = tokio::spawn(async move { pinger.write_all(&[0; 64]).await });
        // A wish that was granted, or has to wait, takes the waker with it.
        for _ in 0..2 {
            tokio::task::yield_now().await;
            wishes.ping();
        }
        tokio::task::yield_now().await;
        wishes.end();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(1), writing).await;
        let error = ended.expect("in time").expect("joins").expect_err("ended");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_sends_what_is_wanted_and_ends_when_told() {
        let (near, mut far) = duplex(4096);
        let wishes = Arc::new(Wishes::default());
        let mut pinger = Pinger::new(near, wishes.clone(), Arc::default());
        for (bytes, _) in &stream()[..2] {
            pinger.write_all(bytes).await.expect("writes");
        }
        let reading = tokio::spawn(async move { pinger.read_u8().await });
        let mut start = vec![0; PREFACE + HEADER + 18];
        far.read_exact(&mut start).await.expect("reads");
        tokio::task::yield_now().await;
        wishes.ping();
        let mut ping = PING;
        ping.fill(0);
        far.read_exact(&mut ping).await.expect("the ping");
        assert_eq!(ping, PING);
        wishes.end();
        let error = reading.await.expect("joins").expect_err("ended");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_large_frame_waits_for_what_follows_and_a_ping_for_nothing() {
        let (near, mut far) = duplex(1 << 20);
        // Nothing passes that is not flushed.
        let near = tokio::io::BufWriter::with_capacity(1 << 20, near);
        let wishes = Arc::new(Wishes::default());
        let mut pinger = Pinger::new(near, wishes.clone(), Arc::default());
        let mut came = vec![0; 1 << 20];
        for (bytes, _) in &stream()[..2] {
            pinger.write_all(bytes).await.expect("taken");
        }
        pinger.flush().await.expect("flushed");
        assert_eq!(far.read(&mut came).await.expect("it comes"), 24 + 9 + 18);

        let whole = frame(0, 0, 16 << 10);
        let (head, payload) = whole.split_at(HEADER);
        let bufs = [io::IoSlice::new(head), io::IoSlice::new(payload)];
        for is_pinged in [false, true] {
            let taken = pinger.write_vectored(&bufs).await.expect("taken");
            assert_eq!(taken, whole.len());
            if is_pinged {
                wishes.ping();
            }
            pinger.flush().await.expect("put off, or flushed");
            if !is_pinged {
                let reading = futures_util::poll!(std::pin::pin!(far.read(&mut came)));
                assert!(reading.is_pending(), "the flush is put off");
                pinger.flush().await.expect("flushed");
            }
            let ping = if is_pinged { PING.len() } else { 0 };
            let count = far.read(&mut came).await.expect("it comes");
            assert_eq!(count, whole.len() + ping);
        }
    }
}
