//! A connection whose bytes take their time.
//!
//! Each direction is a line of chunks, each with the time at which it is due at the far end. A
//! task moves chunks between the connection beneath and the lines, because bytes have to arrive
//! whether or not their writer still polls.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard, PollSemaphore};

use super::Path;
use super::link::Link;
use super::timer::Timer;

/// The largest chunk; what takes the link in one turn.
const CHUNK: usize = 16 << 10;
const CHUNK_PERMITS: u32 = 16 << 10;

/// How long a dropped connection's last bytes may take to arrive.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes under way, and the room that they take.
#[derive(Debug)]
struct Chunk {
    due: Instant,
    bytes: Bytes,
    /// Given back when the chunk has left the line.
    room: OwnedSemaphorePermit,
}

/// The near end of a delayed connection.
#[derive(Debug)]
pub struct Delayed {
    incoming: mpsc::UnboundedReceiver<io::Result<Chunk>>,
    arriving: Option<Chunk>,
    timer: Timer,
    outgoing: Option<mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>>,
    room: PollSemaphore,
    _dropped: DropGuard,
}

impl Delayed {
    pub(super) fn new<S>(inner: S, path: Path, up: &Arc<Link>, down: &Arc<Link>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (arrive, incoming) = mpsc::unbounded_channel();
        let (outgoing, leave) = mpsc::unbounded_channel();
        let (up, down) = (Arc::clone(up), Arc::clone(down));
        let dropped = CancellationToken::new();
        let gone = dropped.clone();
        let (reader, writer) = tokio::io::split(inner);
        tokio::spawn(async move {
            tokio::join!(
                async {
                    tokio::select! {
                        () = gone.cancelled() => {}
                        () = bring(reader, arrive, path, &up) => {}
                    }
                },
                async {
                    tokio::select! {
                        () = async {
                            gone.cancelled().await;
                            tokio::time::sleep(LINGER).await;
                        } => {}
                        () = deliver(writer, leave, path, &down) => {}
                    }
                },
            );
        });
        Self {
            incoming,
            arriving: None,
            timer: Timer::new(path.clock),
            outgoing: Some(outgoing),
            room: PollSemaphore::new(Arc::new(Semaphore::new(path.capacity()))),
            _dropped: dropped.drop_guard(),
        }
    }
}

/// Brings what the far end sends, up the link, to `arrive`.
async fn bring(
    mut reader: impl AsyncRead + Unpin,
    arrive: mpsc::UnboundedSender<io::Result<Chunk>>,
    path: Path,
    link: &Link,
) {
    let room = Arc::new(Semaphore::new(path.capacity()));
    let mut buffer = BytesMut::new();
    loop {
        let Ok(mut permit) = Arc::clone(&room).acquire_many_owned(CHUNK_PERMITS).await else {
            return;
        };
        buffer.reserve(CHUNK);
        match reader.read_buf(&mut (&mut buffer).limit(CHUNK)).await {
            Ok(0) => return,
            Ok(read) => {
                drop(permit.split(CHUNK.saturating_sub(read)));
                link.transmit(read, path.bits_per_second).await;
                let chunk = Chunk {
                    due: Instant::now() + path.delay,
                    bytes: buffer.split().freeze(),
                    room: permit,
                };
                if arrive.send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // There is nobody to tell if the near end has gone.
                let _ = arrive.send(Err(error));
                return;
            }
        }
    }
}

/// Delivers what is left in `leave`, down the link, to the far end, then closes its direction.
async fn deliver(
    mut writer: impl AsyncWrite + Unpin,
    mut leave: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
    path: Path,
    link: &Link,
) {
    let (depart, mut on_the_way) = mpsc::unbounded_channel::<Chunk>();
    let transmitting = async move {
        while let Some((bytes, room)) = leave.recv().await {
            link.transmit(bytes.len(), path.bits_per_second).await;
            let due = Instant::now() + path.delay;
            if depart.send(Chunk { due, bytes, room }).is_err() {
                return;
            }
        }
    };
    let mut timer = Timer::new(path.clock);
    let arriving = async move {
        while let Some(chunk) = on_the_way.recv().await {
            timer.until(chunk.due).await;
            if writer.write_all(&chunk.bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            drop(chunk.room);
        }
        // A connection that is broken is closed all the same.
        let _ = writer.shutdown().await;
    };
    tokio::pin!(transmitting, arriving);
    tokio::select! {
        () = &mut arriving => return,
        () = &mut transmitting => {}
    }
    arriving.await;
}

impl AsyncRead for Delayed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = &mut this.arriving {
                ready!(this.timer.poll_until(chunk.due, cx));
                let taken = chunk.bytes.len().min(buf.remaining());
                buf.put_slice(&chunk.bytes[..taken]);
                chunk.bytes.advance(taken);
                if chunk.bytes.is_empty() {
                    this.arriving = None;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(this.incoming.poll_recv(cx)) {
                Some(Ok(chunk)) => this.arriving = Some(chunk),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Delayed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(outgoing) = &this.outgoing else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // A broken far end gives no room back, but it is known without any.
        if outgoing.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = buf.len().min(CHUNK);
        let permits = u32::try_from(length).unwrap_or(CHUNK_PERMITS);
        let Some(room) = ready!(this.room.poll_acquire_many(cx, permits)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let bytes = Bytes::copy_from_slice(&buf[..length]);
        match outgoing.send((bytes, room)) {
            Ok(()) => Poll::Ready(Ok(length)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ready at once: what is written is under way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().outgoing = None;
        Poll::Ready(Ok(()))
    }
}
