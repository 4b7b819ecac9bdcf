//! Connections that end before HTTP is done with them, on demand.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How to end the connections that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// With a GOAWAY, or a `Connection: close`: what has begun may end.
    GoAway,
    /// In the middle of the next bytes that are written, such as an HTTP/2 frame.
    InFrame,
}

const WHOLE: u8 = 0;
const DUE: u8 = 1;
const BROKEN: u8 = 2;

/// Says when a connection is to break.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker(Arc<AtomicU8>);

impl Breaker {
    /// Breaks the connection within the next bytes that it writes.
    pub(super) fn arm(&self) {
        self.0.store(DUE, Ordering::Relaxed);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that can break.
#[derive(Debug)]
pub(super) struct Breaking<S> {
    inner: S,
    breaker: Breaker,
}

impl<S> Breaking<S> {
    pub(super) fn new(inner: S, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breaking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breaking<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.breaker.state() {
            WHOLE => Pin::new(&mut self.inner).poll_write(cx, buf),
            BROKEN => {
                // What was written before has to arrive.
                let _ = Pin::new(&mut self.inner).poll_flush(cx);
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            _ => {
                let part = &buf[..buf.len().div_ceil(2)];
                let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, part));
                self.breaker.0.store(BROKEN, Ordering::Relaxed);
                Poll::Ready(written)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.breaker.state() == WHOLE {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
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
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_next_bytes_are_the_last_and_go_half() {
        let (mut client, server) = duplex(1024);
        let breaker = Breaker::default();
        let mut server = Breaking::new(server, breaker.clone());
        server.write_all(b"whole").await.unwrap();
        breaker.arm();
        let error = server.write_all(b"broken").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(server);
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "wholebro");
    }
}
