//! What a request's handler may know of the connection, and may do to it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The connection that a request came over.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
    /// The protocol that both sides agreed on in the TLS handshake.
    pub alpn: Option<Vec<u8>>,
    /// Whether the TLS handshake resumed an earlier session.
    pub resumed: bool,
    reset: Arc<AtomicBool>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            peer,
            local,
            alpn: None,
            resumed: false,
            reset: Arc::default(),
        }
    }

    /// Makes the connection end with a TCP reset, without a goodbye at any layer, once whoever
    /// holds it drops it.
    pub fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

/// A TCP connection that can end with a reset.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, connection: &Connection) -> Self {
        Self {
            tcp,
            reset: Arc::clone(&connection.reset),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Without it the connection ends in the ordinary way, which is all that is left.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A FIN ahead of the reset would look like an orderly end.
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
