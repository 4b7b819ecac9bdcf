//! The hybrid connection after the upgrade: a WebSocket as a byte stream.
//!
//! Message boundaries mean nothing. The stream pings while it is polled, since the service drops
//! what is idle; a pong comes from the relay and says nothing of the agent. A WebSocket has no
//! half-close, so shutting down only flushes while the other side may still send: the protocol
//! above says itself that it is done (TLS does, with `close_notify`). The other side's goodbye is
//! answered; ours goes out when the stream is dropped, as far as it can be written at once, and
//! nothing is waited for. Close code 1000 reads as the end of the stream, which is no proof that
//! the stream was whole; any other code is an error.

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

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tungstenite::Message;
    use tungstenite::protocol::{CloseFrame, Role};

    use super::super::frames::BATCH;
    use super::*;

    /// More than a frame carries.
    const MUCH: usize = 3 << 16;

    async fn pair() -> (RelayStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = duplex(1 << 20);
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (RelayStream::new(near, Bytes::new()), far)
    }

    fn close(code: CloseCode) -> Message {
        let reason = "bye".into();
        Message::Close(Some(CloseFrame { code, reason }))
    }

    #[tokio::test]
    async fn bytes_pass_whatever_the_messages() {
        let (mut near, mut far) = pair().await;
        near.write_all(&vec![7; MUCH + 1]).await.expect("writes");
        near.flush().await.expect("flushes");
        let mut seen = 0;
        while seen < MUCH + 1 {
            let message = far.next().await.expect("a message").expect("whole");
            assert!(message.is_binary());
            seen += message.len();
        }
        for part in ["he", "", "llo"] {
            far.send(Message::binary(part)).await.expect("sends");
        }
        let mut buf = [0; 5];
        near.read_exact(&mut buf).await.expect("reads");
        assert_eq!(&buf, b"hello");
    }

    #[tokio::test]
    async fn only_a_normal_close_is_an_end() {
        let (mut near, mut far) = pair().await;
        far.send(Message::binary("last")).await.expect("sends");
        far.send(close(CloseCode::Normal)).await.expect("closes");
        let mut text = String::new();
        near.read_to_string(&mut text).await.expect("an end");
        assert_eq!(text, "last");

        for code in [CloseCode::Away, CloseCode::Policy, CloseCode::Error] {
            let (mut near, mut far) = pair().await;
            far.send(close(code)).await.expect("closes");
            let error = near.read_u8().await.expect_err("an error");
            assert!(
                error.to_string().contains(&u16::from(code).to_string()),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_says_goodbye_behind_its_last_bytes() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"last").await.expect("writes");
        drop(near);
        let message = far.next().await.expect("a message").expect("whole");
        assert_eq!(message.into_data(), "last");
        match far.next().await.expect("a message").expect("whole") {
            Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_written_to_is_dropped_all_the_same() {
        let (near, far) = duplex(8);
        let mut near = RelayStream::new(near, Bytes::new());
        near.write_all(b"more than fits").await.expect("queued");
        drop(near);
        drop(far);
    }

    #[tokio::test]
    async fn the_relays_pings_and_goodbye_are_answered() {
        let (mut near, mut far) = pair().await;
        far.send(Message::Ping("a".into())).await.expect("sends");
        far.send(Message::binary("x")).await.expect("sends");
        far.send(close(CloseCode::Normal)).await.expect("closes");
        let mut text = String::new();
        near.read_to_string(&mut text).await.expect("an end");
        assert_eq!(text, "x");
        let mut answers = Vec::new();
        while let Some(Ok(answer)) = far.next().await {
            answers.push(answer);
        }
        let [pong, goodbye] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert_eq!(*pong, Message::Pong("a".into()));
        match goodbye {
            Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
            other => panic!("{other:?}"),
        }
        near.write_all(b"more").await.expect_err("it has ended");
        assert_eq!(near.read(&mut [0; 1]).await.expect("an end ends"), 0);
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_is_an_error_and_the_end() {
        let (mut near, mut far) = pair().await;
        far.send(Message::binary("x")).await.expect("sends");
        far.send(Message::text("y")).await.expect("sends");
        let mut bytes = Vec::new();
        let error = near.read_to_end(&mut bytes).await.expect_err("text");
        assert_eq!(
            (&bytes[..], error.kind()),
            (&b"x"[..], io::ErrorKind::InvalidData)
        );
        assert!(error.to_string().contains("text"), "{error}");
        assert_eq!(near.read(&mut [0; 1]).await.expect("nothing more"), 0);
        assert_eq!(said_last(&mut far).await, CloseCode::Protocol);
    }

    /// The code that the other side was told at the end.
    async fn said_last(far: &mut WebSocketStream<DuplexStream>) -> CloseCode {
        match far.next().await.expect("a message").expect("whole") {
            Message::Close(Some(frame)) => frame.code,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_code_that_may_not_be_sent_is_not_sent_back() {
        let (near, mut far) = duplex(1 << 10);
        let mut near = RelayStream::new(near, Bytes::new());
        // 1006, which means that there was no close.
        far.write_all(&[0x88, 2, 0x03, 0xee]).await.expect("sends");
        let error = near.read_u8().await.expect_err("no ordinary end");
        assert!(error.to_string().contains("1006"), "{error}");
        drop(near);
        let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        assert_eq!(said_last(&mut far).await, CloseCode::Protocol);
    }

    #[tokio::test]
    async fn what_came_with_the_answer_comes_first() {
        let (near, mut far) = duplex(1 << 10);
        // A frame of five bytes, of which the last two come later.
        let early = Bytes::from_static(&[0x82, 5, b'h', b'e', b'l']);
        let mut near = RelayStream::new(near, early);
        far.write_all(b"lo").await.expect("sends");
        let mut buf = [0; 5];
        near.read_exact(&mut buf).await.expect("reads");
        assert_eq!(&buf, b"hello");
    }

    #[tokio::test]
    async fn an_answer_that_had_no_room_goes_out_later() {
        let (near, far) = duplex(4);
        let mut near = RelayStream::new(near, Bytes::new());
        let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let asking = far.send(Message::Ping("more than fits".into()));
        let reading = tokio::spawn(async move { near.read_u8().await });
        asking.await.expect("sends");
        let pong = far.next().await.expect("a message").expect("whole");
        assert_eq!(pong, Message::Pong("more than fits".into()));
        far.send(Message::binary("x")).await.expect("sends");
        assert_eq!(reading.await.expect("joins").expect("reads"), b'x');
    }

    #[tokio::test]
    async fn whoever_floods_with_pings_grows_nothing() {
        let (near, mut far) = duplex(1 << 10);
        let mut near = RelayStream::new(near, Bytes::new());
        let flood = async {
            // Nothing of what is answered is read.
            for _ in 0..20_000 {
                far.write_all(&[0x89, 3, 1, 2, 3]).await.expect("sends");
            }
            far.write_all(&[0x82, 1, b'x']).await.expect("sends");
        };
        let mut byte = [0; 1];
        let (read, ()) = tokio::join!(near.read(&mut byte), flood);
        assert_eq!((read.expect("reads"), byte), (1, [b'x']));
        let queued = near.writer.out().len();
        assert!(queued < BATCH + 256, "{queued}");
    }

    #[tokio::test]
    async fn a_cut_is_an_error() {
        let (mut near, far) = pair().await;
        drop(far);
        assert_eq!(
            near.read_u8().await.expect_err("cut").kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    /// TLS whose connection was cut.
    struct CutTls;

    impl AsyncRead for CutTls {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    impl AsyncWrite for CutTls {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_cut_of_tls_is_no_end_that_a_reader_could_take_for_one() {
        let mut near = RelayStream::new(CutTls, Bytes::new());
        let error = near.read_exact(&mut [0; 3]).await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn data_shows_that_the_relay_lives_though_a_pong_is_late() {
        let (mut near, mut far) = pair().await;
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 5];
            near.read_exact(&mut bytes).await.map(|_| bytes)
        });
        assert!(
            far.next()
                .await
                .expect("a message")
                .expect("whole")
                .is_ping()
        );
        // Longer than a pong may take, but never silent for so long.
        for byte in 0..5 {
            tokio::time::advance(PONG_DEADLINE * 3 / 4).await;
            far.feed(Message::binary(vec![byte])).await.expect("sends");
            far.flush().await.expect("flushes");
        }
        assert_eq!(
            reading.await.expect("joins").expect("alive"),
            [0, 1, 2, 3, 4]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_a_writer_sent_has_its_deadline_too() {
        let (mut near, mut far) = pair().await;
        tokio::time::advance(PING_INTERVAL).await;
        near.flush().await.expect("flushes");
        let ping = far.next().await.expect("a message").expect("whole");
        assert!(ping.is_ping());
        let begun = Instant::now();
        let error = near.read_u8().await.expect_err("no pong came");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), PONG_DEADLINE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_pings_and_misses_a_pong() {
        let (mut near, mut far) = pair().await;
        let reading = tokio::spawn(async move { near.read_u8().await });
        let ping = far.next().await.expect("a message").expect("whole");
        assert!(ping.is_ping());
        far.flush().await.expect("the pong goes out");
        let second = far.next().await.expect("a message").expect("whole");
        assert!(second.is_ping());
        // This time nothing is flushed: no pong goes out.
        let error = reading.await.expect("joins").expect_err("no pong came");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
