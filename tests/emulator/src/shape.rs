//! A path of a given round-trip time and bandwidth, laid under connections from outside.
//!
//! A [`Shaper`] is one link: all connections that it shapes share its bandwidth, fairly, in turns
//! of one chunk each. Without a round-trip time and a bandwidth a connection is passed through as
//! it is. What the faults say when a connection opens holds for as long as it lives.

mod delayed;
mod link;
mod timer;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::faults::Faults;
use delayed::Delayed;
use link::Link;
use timer::{Clock, Timer};

/// Shapes connections by the faults in force.
///
/// Clones shape connections of the same link.
#[derive(Debug, Clone, Default)]
pub struct Shaper {
    faults: Faults,
    up: Arc<Link>,
    down: Arc<Link>,
    clock: Clock,
}

impl Shaper {
    /// A link of its own, shaped by `faults`.
    pub fn new(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Waits as long as a TCP handshake takes over the path: one round trip.
    ///
    /// The kernel has made the connection already when it is accepted, in no time; a server that
    /// waits here before its first byte gives the round trip back.
    pub async fn handshake(&self) {
        let rtt = self.faults.now().rtt_ms;
        if rtt > 0 {
            let end = Instant::now() + Duration::from_millis(rtt);
            Timer::new(self.clock).until(end).await;
        }
    }

    /// Lays the path under `inner`, seen from the server: reads come up the link, writes go down.
    ///
    /// A shaped connection takes a task of its own, which ends once both ways have ended, or once
    /// the connection is dropped and what it had written has arrived.
    pub fn shape<S>(&self, inner: S) -> Shaped<S>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let faults = self.faults.now();
        let path = Path {
            delay: Duration::from_millis(faults.rtt_ms) / 2,
            bits_per_second: faults.bandwidth_bits,
            clock: self.clock,
        };
        if path.is_plain() {
            Shaped::Plain(inner)
        } else {
            Shaped::Delayed(Delayed::new(inner, path, &self.up, &self.down))
        }
    }
}

/// What one direction does to bytes.
#[derive(Debug, Clone, Copy)]
struct Path {
    delay: Duration,
    bits_per_second: u64,
    clock: Clock,
}

impl Path {
    /// What a sender may have queued beyond what the path itself holds.
    const QUEUE: usize = 2 << 20;
    /// The bound on bytes in flight where no bandwidth limits them.
    const UNLIMITED: usize = 64 << 20;

    fn is_plain(self) -> bool {
        self.delay.is_zero() && self.bits_per_second == 0
    }

    /// How many bytes may be under way in one direction of one connection.
    fn capacity(self) -> usize {
        if self.bits_per_second == 0 {
            return Self::UNLIMITED;
        }
        let round_trip = u128::from(self.bits_per_second) / 8 * (self.delay * 2).as_micros();
        usize::try_from(round_trip / 1_000_000)
            .unwrap_or(usize::MAX)
            .saturating_add(Self::QUEUE)
            .min(Self::UNLIMITED)
    }
}

/// A connection with a path under it.
#[derive(Debug)]
pub enum Shaped<S> {
    /// Nothing lies between.
    Plain(S),
    /// Bytes take their time.
    Delayed(Delayed),
}

impl<S: AsyncRead + Unpin> AsyncRead for Shaped<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_read(cx, buf),
            Self::Delayed(delayed) => Pin::new(delayed).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shaped<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_write(cx, buf),
            Self::Delayed(delayed) => Pin::new(delayed).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
            Self::Delayed(delayed) => Pin::new(delayed).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Delayed(delayed) => delayed.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_flush(cx),
            Self::Delayed(delayed) => Pin::new(delayed).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(inner) => Pin::new(inner).poll_shutdown(cx),
            Self::Delayed(delayed) => Pin::new(delayed).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::faults::FaultSet;

    fn shaper(rtt_ms: u64, bandwidth_bits: u64) -> Shaper {
        let faults = Faults::new(FaultSet {
            rtt_ms,
            bandwidth_bits,
            ..FaultSet::default()
        });
        Shaper {
            clock: Clock::Runtime,
            ..Shaper::new(faults)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_rtt_and_bandwidth_the_connection_is_passed_through() {
        let (_client, server) = duplex(64);
        let shaper = shaper(0, 0);
        let start = Instant::now();
        shaper.handshake().await;
        assert!(matches!(shaper.shape(server), Shaped::Plain(_)));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_takes_one_round_trip() {
        let (mut client, server) = duplex(64);
        let mut server = shaper(50, 0).shape(server);
        let start = Instant::now();
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 25);
        server.write_all(&buffer).await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        assert_eq!(start.elapsed().as_millis(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_takes_one_round_trip() {
        let start = Instant::now();
        shaper(80, 0).handshake().await;
        assert_eq!(start.elapsed().as_millis(), 80);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_in_flight_overlap() {
        let (mut client, server) = duplex(1 << 20);
        let mut server = shaper(100, 0).shape(server);
        let start = Instant::now();
        let writing = tokio::spawn(async move {
            for _ in 0..10 {
                server.write_all(&[7; 1000]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            server.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        assert_eq!(received, vec![7; 10_000]);
        // The last chunk left after 90 ms.
        assert_eq!(start.elapsed().as_millis(), 140);
    }

    #[tokio::test(start_paused = true)]
    async fn bandwidth_sets_the_pace() {
        let (mut client, server) = duplex(1 << 20);
        // 8 Mbit/s carry 1 MB in a second.
        let mut server = shaper(20, 8_000_000).shape(server);
        let start = Instant::now();
        tokio::spawn(async move {
            server.write_all(&vec![1; 1_000_000]).await.unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), 1_000_000);
        let elapsed = start.elapsed().as_millis();
        assert!((1000..1025).contains(&elapsed), "{elapsed} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_the_link_fairly() {
        let shaper = shaper(0, 8_000_000);
        let (mut bulk, server) = duplex(1 << 20);
        let mut bulk_server = shaper.shape(server);
        let (mut small, server) = duplex(1 << 20);
        let mut small_server = shaper.shape(server);
        tokio::spawn(async move { bulk_server.write_all(&vec![0; 1_000_000]).await });
        let start = Instant::now();
        // The bulk transfer has begun.
        bulk.read_exact(&mut [0; 1]).await.unwrap();
        let begun = start.elapsed();
        small_server.write_all(b"answer").await.unwrap();
        small.read_exact(&mut [0; 6]).await.unwrap();
        let waited = start.elapsed().checked_sub(begun).unwrap();
        assert!(waited.as_millis() <= 40, "{} ms", waited.as_millis());
        let mut rest = Vec::new();
        bulk.read_to_end(&mut rest).await.unwrap();
        assert!(start.elapsed().as_millis() >= 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_peer_stops_the_writer() {
        let (_client, server) = duplex(1024);
        let shaper = shaper(10, 8_000_000);
        let mut server = shaper.shape(server);
        let mut accepted = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_mins(1), server.write(&[0; 8192])).await
        {
            accepted += written.unwrap();
        }
        // What the queue, the path and the pipe hold.
        let bound = Path::QUEUE + 10_000 + 1024;
        assert!(accepted <= bound, "{accepted} bytes");
        assert!(accepted >= Path::QUEUE, "{accepted} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn half_close_passes_both_ways() {
        let (mut client, server) = duplex(1024);
        let mut server = shaper(10, 0).shape(server);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
    }
}
