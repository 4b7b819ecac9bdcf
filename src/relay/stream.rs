//! The hybrid connection after the upgrade: a WebSocket as a byte stream.
//!
//! Message boundaries mean nothing. The stream pings while it is polled, since the service drops
//! what is idle; a pong comes from the relay and says nothing of the agent. A WebSocket has no
//! half-close, so shutting down only flushes while the other side may still send: the protocol
//! above says itself that it is done (TLS does, with `close_notify`). The other side's goodbye is
//! answered; ours goes out when the stream is dropped, as far as it can be written at once, and
//! nothing is waited for. Close code 1000 reads as the end of the stream, which is no proof that
//! the stream was whole; any other code is an error.

#[cfg(test)]
mod tests;

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep};
use tungstenite::protocol::frame::coding::{CloseCode, Control};

use super::frames::{FrameReader, FrameWriter, Room, Said};

/// The service or a middlebox drops a stream that is idle for about two minutes.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a pong may take once a ping is out.
const PONG_DEADLINE: Duration = Duration::from_secs(10);

/// A hybrid connection as a byte stream over `S`. Whoever reads it also writes to `S`, so one task
/// must do both.
#[derive(Debug)]
pub struct RelayStream<S: AsyncRead + AsyncWrite + Unpin> {
    io: S,
    /// What came behind the upgrade's answer.
    early: Bytes,
    reader: FrameReader,
    writer: FrameWriter,
    /// What the relay's last ping said, until the answer is queued.
    pinged: Option<Vec<u8>>,
    /// Whether something is to be flushed that nobody will ask to have flushed.
    is_owing: bool,
    /// Whether the other side has ended, or the connection is broken.
    ended: bool,
    timer: Pin<Box<Sleep>>,
    ping: Ping,
}

/// What was read.
enum Came {
    /// Bytes of the stream.
    Data,
    /// All of a frame that carries none.
    Said(Said),
    /// A part of such a frame, or the head of another.
    Part,
}

/// Where the exchange of pings stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    /// The timer says when one is due.
    Resting,
    /// One is in the write buffer.
    Queued,
    /// One is out; the timer says when its pong is overdue.
    Sent,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RelayStream<S> {
    /// The stream over `io`, whose upgrade is done; `read` came behind the upgrade's answer.
    pub fn new(io: S, read: Bytes) -> Self {
        Self {
            io,
            early: read,
            reader: FrameReader::new(),
            writer: FrameWriter::new(),
            pinged: None,
            is_owing: false,
            ended: false,
            timer: Box::pin(sleep(PING_INTERVAL)),
            ping: Ping::Resting,
        }
    }

    /// Writes what has been gathered.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writer.out().is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, self.writer.out()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writer.wrote(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes it and flushes. A ping's deadline starts once it is out.
    fn poll_all_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_owing = false;
        if self.ping == Ping::Queued {
            self.ping = Ping::Sent;
            self.timer.as_mut().reset(Instant::now() + PONG_DEADLINE);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the stream itself has to say, as far as it can be written now: an answer to the
    /// relay's ping, and a ping when one is due.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_due =
            !self.ended && self.ping == Ping::Resting && self.timer.as_mut().poll(cx).is_ready();
        if (is_due || self.pinged.is_some()) && self.writer.is_full() {
            // What cannot be queued now is at the next poll: the timer stays elapsed.
            let _ = self.poll_out(cx)?;
        }
        if !self.writer.is_full() {
            if let Some(carried) = self.pinged.take() {
                self.writer.control(Control::Pong, &carried);
                self.is_owing = true;
            }
            if is_due {
                self.writer.relax();
                self.writer.control(Control::Ping, &[]);
                self.ping = Ping::Queued;
                self.is_owing = true;
            }
        }
        if self.is_owing {
            let _ = self.poll_all_out(cx)?;
        }
        Ok(())
    }

    /// What arrives shows that the relay lives; on a slow link a pong waits behind data.
    fn heard(&mut self, pong: bool) {
        if pong {
            self.ping = Ping::Resting;
            self.timer.as_mut().reset(Instant::now() + PING_INTERVAL);
        } else if self.ping == Ping::Sent {
            self.timer.as_mut().reset(Instant::now() + PONG_DEADLINE);
        }
    }

    /// Takes what a control frame said. An error if it says that the stream was cut.
    fn hear(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Ping(carried) => {
                self.heard(false);
                self.pinged = Some(carried);
                Ok(())
            }
            Said::Pong => {
                self.heard(true);
                Ok(())
            }
            Said::Close(why) => {
                // Answered in kind (RFC 6455, section 5.5.1).
                self.end(why.as_ref().map(|(code, _)| CloseCode::from(*code)));
                match why {
                    Some((code, reason)) if code != u16::from(CloseCode::Normal) => {
                        let why = format!("the relay closed the stream: {code} {reason}");
                        Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Ends the stream, and queues a close for whatever can still be written.
    fn end(&mut self, code: Option<CloseCode>) {
        self.ended = true;
        self.pinged = None;
        // Some codes only say what a library has seen (section 7.4.1).
        let code = code.map(|code| {
            if code.is_allowed() {
                code
            } else {
                CloseCode::Protocol
            }
        });
        let carried = code.map(|code| u16::from(code).to_be_bytes());
        let carried = carried.as_ref().map_or(&[][..], <[u8; 2]>::as_slice);
        self.writer.control(Control::Close, carried);
        self.is_owing = true;
    }

    /// Reads once: into `buf` where the stream's bytes are next, and else what stands between them.
    fn poll_in(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Came>> {
        let (room, is_data) = match self.reader.room() {
            Room::Own(room) => (room, false),
            Room::Data(left) => {
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                let most = left.min(buf.remaining());
                (buf.initialize_unfilled_to(most), true)
            }
        };
        let count = if self.early.is_empty() {
            let mut room = ReadBuf::new(room);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut room)) {
                // TLS that was cut says that the end is not its own; it is none of ours either.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                done => done.map(|()| room.filled().len())?,
            }
        } else {
            let count = self.early.len().min(room.len());
            self.early.copy_to_slice(&mut room[..count]);
            count
        };
        if count == 0 {
            let why = "the connection ended without a close";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why)));
        }
        let said = self.reader.took(count)?;
        if is_data {
            buf.advance(count);
            return Poll::Ready(Ok(Came::Data));
        }
        Poll::Ready(Ok(said.map_or(Came::Part, Came::Said)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for RelayStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        this.poll_own(cx)?;
        while !this.ended {
            let turn = ready!(coop::poll_proceed(cx));
            let Poll::Ready(came) = this.poll_in(cx, buf) else {
                // Only a stream that is read to its last byte can tell that no pong came.
                if this.ping == Ping::Sent && this.timer.as_mut().poll(cx).is_ready() {
                    let why = "the relay does not answer pings";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                return Poll::Pending;
            };
            turn.made_progress();
            match came {
                Ok(Came::Data) => {
                    this.heard(false);
                    return Poll::Ready(Ok(()));
                }
                Ok(Came::Part) => {}
                Ok(Came::Said(said)) => {
                    let heard = this.hear(said);
                    let answered = this.poll_own(cx);
                    heard?;
                    // Who has said goodbye may be gone.
                    if !this.ended {
                        answered?;
                    }
                }
                Err(error) => {
                    this.end(Some(CloseCode::Protocol));
                    let _ = this.poll_own(cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RelayStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            let why = "the stream has ended";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why)));
        }
        if self.writer.is_full() {
            ready!(self.poll_out(cx))?;
        }
        Poll::Ready(Ok(self.writer.data(bufs)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_own(cx)?;
        self.poll_all_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        if self.ended {
            return Pin::new(&mut self.io).poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for RelayStream<S> {
    /// Says goodbye, so that the relay tells the listener at once and of a clean end.
    fn drop(&mut self) {
        if !self.ended {
            self.end(Some(CloseCode::Normal));
        } else if !self.is_owing {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = self.poll_all_out(&mut cx) {
            let _ended = Pin::new(&mut self.io).poll_shutdown(&mut cx);
        }
    }
}
