//! How the stream through the relay begins.
//!
//! **Inferred**, and kept in this one place: whether the agent bridges the stream to a TCP
//! connection from its first byte (`raw`), or expects the preamble of the open azure-relay-bridge
//! first (`bridge`). A bridge that gets a TLS `ClientHello` instead of a preamble answers three
//! zeros, which no TLS server does: raw is tried first, and that answer switches. A TLS server
//! that gets a preamble answers an alert or nothing, which no bridge does: that switches back.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// What a bridge answers to something that is no preamble.
const BRIDGE_REFUSAL: [u8; 3] = [0, 0, 0];
/// What it answers to one that it takes.
const BRIDGE_ACCEPTED: [u8; 3] = [1, 0, 0];
/// What a preamble starts with: version 1.0, stream mode.
const PREAMBLE: [u8; 3] = [1, 0, 0];

/// How the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The far side's own bytes from the start.
    Raw,
    /// A preamble that names the port, then the far side's bytes.
    Bridge,
}

impl Dialect {
    /// The one that it is not.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Raw => Self::Bridge,
            Self::Bridge => Self::Raw,
        }
    }
}

/// The dialect of one cluster, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct DialectMemory(AtomicBool);

impl DialectMemory {
    pub(super) fn now(&self) -> Dialect {
        if self.0.load(Ordering::Relaxed) {
            Dialect::Bridge
        } else {
            Dialect::Raw
        }
    }

    pub(super) fn remember(&self, dialect: Dialect) {
        self.0.store(dialect == Dialect::Bridge, Ordering::Relaxed);
    }
}

/// The preamble for `port`.
fn preamble(port: &str) -> io::Result<Vec<u8>> {
    let length = u8::try_from(port.len()).map_err(io::Error::other)?;
    Ok([&PREAMBLE[..], &[length], port.as_bytes()].concat())
}

/// Sends the preamble for `port` and reads the bridge's answer. `false` where what answers is no
/// bridge: it ends without a word, or with words of its own.
pub(super) async fn greet<S>(stream: &mut S, port: &str) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&preamble(port)?).await?;
    stream.flush().await?;
    let mut answer = [0; 3];
    match stream.read_exact(&mut answer).await {
        Ok(_) if answer == BRIDGE_ACCEPTED => Ok(true),
        Ok(_) if answer == BRIDGE_REFUSAL => {
            let why = format!("the agent's bridge does not forward port {port}");
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, why))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A stream that remembers the first bytes it read.
#[derive(Debug)]
pub(super) struct FirstBytes<S> {
    inner: S,
    seen: [u8; 3],
    count: usize,
}

impl<S> FirstBytes<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            seen: [0; 3],
            count: 0,
        }
    }

    /// Whether the other side answered as a bridge does that wants a preamble.
    pub(super) fn is_bridge_refusal(&self) -> bool {
        self.count == self.seen.len() && self.seen == BRIDGE_REFUSAL
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.count < self.seen.len() {
            for byte in &buf.filled()[before..] {
                if self.count == self.seen.len() {
                    break;
                }
                let at = self.count;
                self.seen[at] = *byte;
                self.count += 1;
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio_test_io::answering;

    use super::*;

    mod tokio_test_io {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

        /// A stream whose far end takes `expected` and answers `answer`.
        pub(super) fn answering(expected: &'static [u8], answer: &'static [u8]) -> DuplexStream {
            let (near, mut far) = duplex(64);
            tokio::spawn(async move {
                let mut got = vec![0; expected.len()];
                far.read_exact(&mut got).await.expect("the far end reads");
                assert_eq!(got, expected);
                far.write_all(answer).await.expect("the far end answers");
            });
            near
        }
    }

    #[test]
    fn the_bytes_are_the_bridges_own() {
        let golden = include_str!("../../tests/fixtures/bridge-preamble.hex");
        let bytes = |name: &str| {
            let line = golden
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a line");
            line.split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
                .collect::<Vec<_>>()
        };
        assert_eq!(preamble("443").expect("a preamble"), bytes("sender:"));
        assert_eq!(BRIDGE_ACCEPTED[..], bytes("agreed:"));
        assert_eq!(BRIDGE_REFUSAL[..], bytes("refused:"));
    }

    #[tokio::test]
    async fn a_bridge_is_greeted_with_the_port() {
        let mut stream = answering(b"\x01\x00\x00\x03443", &[1, 0, 0]);
        assert!(greet(&mut stream, "443").await.expect("accepted"));
    }

    #[tokio::test]
    async fn what_answers_in_tls_or_not_at_all_is_no_bridge() {
        for answer in [&[0x15, 3, 3, 0, 2, 2, 10][..], &[]] {
            let mut stream = answering(b"\x01\x00\x00\x03443", answer);
            assert!(
                !greet(&mut stream, "443").await.expect("an answer"),
                "{answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_bridges_no_names_the_port() {
        let mut stream = answering(b"\x01\x00\x00\x0212", &[0, 0, 0]);
        let error = greet(&mut stream, "12").await.expect_err("refused");
        assert!(error.to_string().contains("port 12"), "{error}");
    }

    #[tokio::test]
    async fn three_zeros_are_a_bridge_and_tls_is_not() {
        for (bytes, bridge) in [
            (&[0, 0, 0][..], true),
            (&[0x16, 3, 3], false),
            (&[0, 0], false),
        ] {
            let mut stream = FirstBytes::new(bytes);
            let mut sink = Vec::new();
            stream.read_to_end(&mut sink).await.expect("reads");
            assert_eq!(stream.is_bridge_refusal(), bridge, "{bytes:?}");
        }
    }
}
