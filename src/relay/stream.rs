//! The hybrid connection after the upgrade: a WebSocket as a byte stream.
//!
//! Message boundaries mean nothing. The stream pings while it is polled, since the service drops
//! what is idle; a pong comes from the relay and says nothing of the agent. A WebSocket has no
//! half-close, so shutting down only flushes while the other side may still send: the protocol
//! above says itself that it is done (TLS does, with `close_notify`), and the close frame goes out
//! once the other side has ended too, or when the stream is dropped: as far as it can be written at
//! once, and nothing is waited for. Close code 1000 reads as the end of
//! the stream, which is no proof that the stream was whole; any other code is an error.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// The service or a middlebox drops a stream that is idle for about two minutes.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a pong may take once a ping is out.
const PONG_DEADLINE: Duration = Duration::from_secs(10);
/// How much is read at once. The library fills as much with zeros before each attempt, those that
/// find nothing too; it is TLS beneath that reads from the network, in larger pieces.
const READ: usize = 4 << 10;
/// What is gathered before it is written; TLS records hold 16 KiB.
const BUFFER: usize = 32 << 10;
/// What one message carries at most.
const MESSAGE: usize = 64 << 10;
/// The largest message that is taken; the relay sends far smaller ones.
const LARGEST: usize = 16 << 20;

/// A hybrid connection as a byte stream over `S`.
#[derive(Debug)]
pub struct RelayStream<S: AsyncRead + AsyncWrite + Unpin> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    /// Whether the other side has ended, or the connection is broken.
    ended: bool,
    timer: Pin<Box<Sleep>>,
    ping: Ping,
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
    pub async fn new(io: S, read: Bytes) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(8 * BUFFER)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST));
        let socket =
            WebSocketStream::from_partially_read(io, read.into(), Role::Client, Some(config)).await;
        Self {
            socket,
            unread: Bytes::new(),
            ended: false,
            timer: Box::pin(sleep(PING_INTERVAL)),
            ping: Ping::Resting,
        }
    }

    /// Sends a ping when one is due, and starts its deadline once it is out.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.ping == Ping::Resting && self.timer.as_mut().poll(cx).is_ready() {
            // What cannot be queued now is at the next poll: the timer stays elapsed.
            if let Poll::Ready(ready) = Pin::new(&mut self.socket).poll_ready(cx) {
                ready.map_err(broken)?;
                Pin::new(&mut self.socket)
                    .start_send(Message::Ping(Bytes::new()))
                    .map_err(broken)?;
                self.ping = Ping::Queued;
            }
        }
        if self.ping == Ping::Queued
            && let Poll::Ready(sent) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            sent.map_err(broken)?;
            self.ping = Ping::Sent;
            self.timer.as_mut().reset(Instant::now() + PONG_DEADLINE);
        }
        Ok(())
    }

    /// Whatever arrives shows that the relay lives; on a slow link a pong waits behind data.
    fn heard(&mut self, pong: bool) {
        if pong {
            self.ping = Ping::Resting;
            self.timer.as_mut().reset(Instant::now() + PING_INTERVAL);
        } else if self.ping == Ping::Sent {
            self.timer.as_mut().reset(Instant::now() + PONG_DEADLINE);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for RelayStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_ping(cx)?;
        while self.unread.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) else {
                // Only a stream that is read to its last byte can tell that no pong came.
                if self.ping == Ping::Sent && self.timer.as_mut().poll(cx).is_ready() {
                    let why = "the relay does not answer pings";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                return Poll::Pending;
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    self.heard(false);
                    self.unread = bytes;
                }
                Some(Ok(Message::Text(_))) => {
                    let why = "the relay sent text where bytes were due";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                Some(Ok(Message::Close(frame))) => {
                    self.ended = true;
                    if let Some(frame) = frame
                        && frame.code != CloseCode::Normal
                    {
                        let why = format!(
                            "the relay closed the stream: {} {}",
                            u16::from(frame.code),
                            frame.reason
                        );
                        return Poll::Ready(Err(io::Error::new(
                            io::ErrorKind::ConnectionAborted,
                            why,
                        )));
                    }
                }
                Some(Ok(message)) => self.heard(message.is_pong()),
                None | Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    self.ended = true;
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(broken(error)));
                }
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RelayStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let length = buf.len().min(MESSAGE);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..length]));
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ping(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Pin::new(&mut self.socket).poll_close(cx).map_err(broken);
        }
        self.poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for RelayStream<S> {
    /// Says goodbye, so that the relay tells the listener at once and of a clean end.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut socket = Pin::new(&mut self.socket);
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        if let Poll::Ready(Ok(())) = socket.as_mut().poll_ready(&mut cx)
            && socket.start_send(Message::Close(Some(goodbye))).is_ok()
            && let Poll::Ready(Ok(())) = Pin::new(&mut self.socket).poll_flush(&mut cx)
        {
            let _ended = Pin::new(self.socket.get_mut()).poll_shutdown(&mut cx);
        }
    }
}

fn broken(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::ConnectionReset, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn pair() -> (RelayStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = duplex(1 << 20);
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (RelayStream::new(near, Bytes::new()).await, far)
    }

    fn close(code: CloseCode) -> Message {
        let reason = "bye".into();
        Message::Close(Some(CloseFrame { code, reason }))
    }

    #[tokio::test]
    async fn bytes_pass_whatever_the_messages() {
        let (mut near, mut far) = pair().await;
        near.write_all(&vec![7; 3 * MESSAGE + 1])
            .await
            .expect("writes");
        near.flush().await.expect("flushes");
        let mut seen = 0;
        while seen < 3 * MESSAGE + 1 {
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
        let mut near = RelayStream::new(near, Bytes::new()).await;
        near.write_all(b"more than fits").await.expect("queued");
        drop(near);
        drop(far);
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
