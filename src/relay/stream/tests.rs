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
async fn a_goodbye_that_had_no_room_goes_out_with_the_stream() {
    // Room for all but the last byte of the answer.
    let (near, mut far) = duplex(7);
    let mut near = RelayStream::new(near, Bytes::new());
    far.write_all(&[0x88, 2, 0x03, 0xe8]).await.expect("sends");
    assert_eq!(near.read(&mut [0; 1]).await.expect("an end"), 0);
    far.read_exact(&mut [0; 7]).await.expect("the first of it");
    drop(near);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.expect("the end");
    assert_eq!(rest.len(), 1);
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
