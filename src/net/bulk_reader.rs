//! Reading a socket in large pieces while much comes.
//!
//! TLS asks for a record at a time at most, which is a system call for every 16 KiB. After a read
//! that was full, more is read than was asked for.

use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use tokio_util::io::poll_read_buf;

/// How much is read at once: less than what glibc would map on its own, and then keep more of.
const ROOM: usize = 96 << 10;
/// How much free memory the allocator keeps once much has come.
const KEPT: usize = 4 << 20;
/// A read of less says nothing of what follows.
const SMALL: usize = 4 << 10;

/// A socket that is read ahead while much comes. Whoever reads until nothing more is there leaves
/// no memory behind, so that connections that are idle have none; whoever stops before that keeps
/// the room.
#[derive(Debug)]
pub struct BulkReader<S> {
    socket: S,
    held: BytesMut,
    is_bulk: bool,
}

impl<S> BulkReader<S> {
    /// Reads `socket`.
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            held: BytesMut::new(),
            is_bulk: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BulkReader<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            if !this.is_bulk || buf.remaining() >= ROOM {
                let wanted = buf.remaining();
                ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
                this.is_bulk = wanted >= SMALL && buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            this.held.reserve(ROOM);
            let polled = poll_read_buf(Pin::new(&mut this.socket), cx, &mut this.held);
            if this.held.is_empty() {
                this.held = BytesMut::new();
            }
            let count = ready!(polled)?;
            this.is_bulk = count >= SMALL;
            if count >= ROOM / 2 {
                expect_much();
            }
        }
        // One read of the socket serves many, and each is a turn.
        ready!(coop::poll_proceed(cx)).made_progress();
        let length = buf.remaining().min(this.held.len());
        buf.put_slice(&this.held[..length]);
        this.held.advance(length);
        if this.held.is_empty() && !this.is_bulk {
            this.held = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

/// Lets the allocator keep what it is about to need again and again.
///
/// glibc gives the end of its heap back to the kernel as soon as 128 KiB of it are free, and takes
/// it anew page by page: a fifth of what a large body cost. It sets that limit to twice the size of
/// the largest piece that was mapped on its own and given back, as mallopt(3) describes.
fn expect_much() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(KEPT / 2))));
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BulkReader<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair() -> (DuplexStream, BulkReader<DuplexStream>) {
        let (far, near) = duplex(1 << 20);
        (far, BulkReader::new(near))
    }

    #[tokio::test]
    async fn every_byte_comes_once_whatever_is_asked_for() {
        let (mut far, mut near) = pair();
        let sent: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            for (at, piece) in sent.chunks(9_999).enumerate() {
                far.write_all(piece).await.expect("it is taken");
                if at % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut came = Vec::new();
        let mut asked = [1, 16 << 10, 4 << 10, 17, ROOM, 5].into_iter().cycle();
        loop {
            let mut piece = vec![0; asked.next().expect("it goes on")];
            match near.read(&mut piece).await.expect("it comes") {
                0 => break,
                count => came.extend_from_slice(&piece[..count]),
            }
        }
        sending.await.expect("it was sent");
        assert!(
            came == expected,
            "{} of {} came",
            came.len(),
            expected.len()
        );
    }

    #[tokio::test]
    async fn only_what_follows_a_full_read_is_read_ahead() {
        let (mut far, mut near) = pair();
        let mut small = [0; SMALL];
        far.write_all(&[1; 100]).await.expect("it is taken");
        near.read_exact(&mut small[..60]).await.expect("it comes");
        assert!(near.held.is_empty(), "a small question says nothing");
        near.read_exact(&mut small[..40]).await.expect("it comes");

        far.write_all(&vec![2; 50 << 10])
            .await
            .expect("it is taken");
        near.read_exact(&mut small).await.expect("it comes");
        assert!(
            near.held.is_empty(),
            "the first read takes what was asked for"
        );
        near.read_exact(&mut small).await.expect("it comes");
        assert_eq!(near.held.len(), (50 << 10) - 2 * SMALL);
    }

    #[tokio::test]
    async fn who_waits_holds_nothing() {
        let (mut far, mut near) = pair();
        let mut piece = [0; SMALL];
        far.write_all(&vec![1; 5 * SMALL])
            .await
            .expect("it is taken");
        for _ in 0..5 {
            near.read_exact(&mut piece).await.expect("it comes");
        }
        let waiting = futures_util::poll!(std::pin::pin!(near.read(&mut piece)));
        assert!(waiting.is_pending());
        assert_eq!(near.held.capacity(), 0);

        // What is little ends the reading ahead.
        far.write_all(&[1; 10]).await.expect("it is taken");
        near.read_exact(&mut piece[..10]).await.expect("it comes");
        assert!(!near.is_bulk && near.held.capacity() == 0);
    }

    #[tokio::test]
    async fn an_end_comes_behind_the_last_byte() {
        let (mut far, mut near) = pair();
        far.write_all(&vec![1; 3 * SMALL])
            .await
            .expect("it is taken");
        drop(far);
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.expect("an end");
        assert_eq!(all.len(), 3 * SMALL);
        assert_eq!(near.read(&mut [0; 1]).await.expect("an end ends"), 0);
    }
}
