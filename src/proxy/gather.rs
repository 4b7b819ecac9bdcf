//! Writing to a client in large pieces: TLS takes in what is there together before any of it goes.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::net::Gathered;

/// How much goes to a client at once, in bytes.
const ENOUGH: usize = 112 << 10;
/// What TLS takes in at most, the heads of its records among it: what is gathered, and some more.
const LIMIT: usize = 192 << 10;

/// A TLS connection for HTTP/2, which flushes whenever it is polled.
#[derive(Debug)]
pub(super) struct Gathering<S> {
    tls: TlsStream<S>,
    gathered: Gathered,
}

impl<S> Gathering<S> {
    /// `tls`, whose handshake is done.
    pub(super) fn new(mut tls: TlsStream<S>) -> Self {
        tls.get_mut().1.set_buffer_limit(Some(LIMIT));
        Self {
            tls,
            gathered: Gathered::up_to(ENOUGH),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathering<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
        self.gathered.flushed();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.remaining();
        let read = Pin::new(&mut self.tls).poll_read(cx, buf);
        if let Poll::Ready(read) = &read
            && (read.is_err() || buf.remaining() == before)
        {
            // Nobody may flush any more, and the client may still be reading.
            let _ = self.poll_write_out(cx);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.tls.get_mut().1.writer().write_vectored(bufs)?;
            if taken > 0 || bufs.iter().all(|buf| buf.is_empty()) {
                self.gathered.took(bufs, taken);
                return Poll::Ready(Ok(taken));
            }
            ready!(self.poll_write_out(cx))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.may_wait(cx) {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::poll;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;
    use crate::net::Trust;
    use crate::proxy::LocalCertificate;

    /// A connection whose socket holds `room`, and its client.
    async fn pair(room: usize) -> (Gathering<DuplexStream>, client::TlsStream<DuplexStream>) {
        let certificate = LocalCertificate::generate().expect("a certificate");
        let trust = Trust::only(certificate.authority_pem.as_bytes(), &[]).expect("an authority");
        let (near, far) = duplex(room);
        let name = ServerName::try_from("localhost").expect("a name");
        let (server, client) = tokio::join!(
            TlsAcceptor::from(certificate.config).accept(near),
            TlsConnector::from(Arc::new(trust)).connect(name, far),
        );
        let mut client = client.expect("a handshake");
        let mut server = Gathering::new(server.expect("a handshake"));
        // What the server says of later handshakes.
        server.flush().await.expect("it is written");
        assert!(poll!(std::pin::pin!(client.read(&mut [0; 1]))).is_pending());
        (server, client)
    }

    /// How much has come.
    async fn came(client: &mut client::TlsStream<DuplexStream>) -> usize {
        let (mut all, mut piece) = (0, vec![0; 1 << 20]);
        while let Poll::Ready(count) = poll!(std::pin::pin!(client.read(&mut piece))) {
            all += count.expect("it comes");
        }
        all
    }

    /// What HTTP/2 writes of a body, and how much it is.
    async fn frame(server: &mut Gathering<DuplexStream>) -> usize {
        let (head, payload) = ([0; 9], vec![1; 16 << 10]);
        let bufs = [IoSlice::new(&head), IoSlice::new(&payload)];
        let taken = server.write_vectored(&bufs).await.expect("taken");
        server.flush().await.expect("put off");
        taken
    }

    #[tokio::test]
    async fn what_is_there_together_goes_together() {
        let (mut server, mut client) = pair(1 << 20).await;
        let mut taken = 0;
        for _ in 0..3 {
            taken += frame(&mut server).await;
            assert_eq!(came(&mut client).await, 0);
        }
        server.flush().await.expect("flushed");
        assert_eq!(came(&mut client).await, taken);
    }

    #[tokio::test]
    async fn whoever_says_no_more_still_gets_what_was_put_off() {
        let (mut server, mut client) = pair(1 << 20).await;
        let taken = frame(&mut server).await;
        // An end of TCP without one of TLS.
        client.get_mut().0.shutdown().await.expect("an end");
        server.read(&mut [0; 1]).await.expect_err("TLS was cut");
        assert_eq!(came(&mut client).await, taken);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_stops_the_writer_and_loses_nothing() {
        let (mut server, mut client) = pair(8 << 10).await;
        let all = 1 << 20;
        let mut taken = 0;
        let piece = [7; 16 << 10];
        while let Poll::Ready(count) = poll!(std::pin::pin!(server.write(&piece))) {
            taken += count.expect("it is taken");
            assert!(taken < LIMIT + (64 << 10), "{taken} were taken");
        }
        let writing = async {
            while taken < all {
                let rest = piece.len().min(all - taken);
                taken += server.write(&piece[..rest]).await.expect("it is taken");
            }
            server.shutdown().await.expect("an end");
        };
        let mut read = Vec::new();
        let ((), ended) = tokio::join!(writing, client.read_to_end(&mut read));
        ended.expect("a clean end");
        assert!(read.len() == all && read.iter().all(|byte| *byte == 7));
    }
}
