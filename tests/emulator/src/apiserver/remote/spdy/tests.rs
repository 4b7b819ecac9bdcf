#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
//! Sessions over a pipe in memory, with frames put together by hand.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::headers::{Deflater, Inflater};
use super::*;

/// The client's side of a session.
struct Client {
    io: DuplexStream,
    deflater: Deflater,
    inflater: Inflater,
}

/// A frame as the client sees it: its first four bytes, its flags and its payload.
type Frame = ([u8; 4], u8, Vec<u8>);

const REPLY: [u8; 4] = [0x80, 3, 0, 2];
const RESET: [u8; 4] = [0x80, 3, 0, 3];
const PING: [u8; 4] = [0x80, 3, 0, 6];
const GOAWAY: [u8; 4] = [0x80, 3, 0, 7];

fn session() -> (Client, Connection) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let client = Client {
        io: near,
        deflater: Deflater::new(),
        inflater: Inflater::new(),
    };
    (client, Connection::new(far))
}

impl Client {
    async fn frame(&mut self, head: [u8; 4], flags: u8, payload: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_slice(&head);
        frame.put_u8(flags);
        frame.put_uint(payload.len() as u64, 3);
        frame.put_slice(payload);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn open(&mut self, stream: u32, flags: u8, headers: &[(&str, &str)]) {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 6]);
        payload.extend(self.deflater.block(headers).unwrap());
        self.frame([0x80, 3, 0, 1], flags, &payload).await;
    }

    async fn data(&mut self, stream: u32, flags: u8, data: &[u8]) {
        self.frame(stream.to_be_bytes(), flags, data).await;
    }

    async fn read(&mut self) -> Frame {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await.unwrap();
        let [a, b, c, d, flags, length @ ..] = head;
        let length =
            usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.unwrap();
        ([a, b, c, d], flags, payload)
    }

    async fn replied(&mut self, stream: u32) {
        let (head, flags, payload) = self.read().await;
        assert_eq!((head, flags), (REPLY, 0));
        assert_eq!(payload[..4], stream.to_be_bytes());
        self.inflater.headers(&payload[4..]).unwrap();
    }
}

#[tokio::test]
async fn each_side_of_a_stream_ends_by_itself() {
    let (mut client, mut connection) = session();
    client.open(1, 0, &[("streamtype", "data")]).await;
    let opened = connection.opened().await.unwrap();
    assert_eq!(
        (opened.id(), opened.header("streamtype")),
        (1, Some("data"))
    );
    let (mut receiving, mut sending) = opened.accept().await.unwrap();
    client.replied(1).await;
    client.data(1, 0, b"there").await;
    client.data(1, 1, b"").await;
    assert_eq!(receiving.data().await.unwrap().unwrap(), "there");
    assert_eq!(receiving.data().await, Ok(None));
    sending.send(Bytes::from_static(b"back")).await.unwrap();
    sending.finish().await.unwrap();
    let one = 1_u32.to_be_bytes();
    assert_eq!(client.read().await, (one, 0, b"back".to_vec()));
    assert_eq!(client.read().await, (one, 1, vec![]));
}

#[tokio::test]
async fn a_stream_may_open_finished() {
    let (mut client, mut connection) = session();
    client.open(1, 1, &[]).await;
    let (mut receiving, _sending) = connection.opened().await.unwrap().accept().await.unwrap();
    assert_eq!(receiving.data().await, Ok(None));
}

#[tokio::test]
async fn pings_are_returned_and_unknown_frames_ignored() {
    let (mut client, _connection) = session();
    // WINDOW_UPDATE and SETTINGS with nothing in it.
    client.frame([0x80, 3, 0, 9], 0, &[0; 8]).await;
    client.frame([0x80, 3, 0, 4], 0, &[0; 4]).await;
    client.frame(PING, 0, &[0, 0, 0, 3]).await;
    assert_eq!(client.read().await, (PING, 0, vec![0, 0, 0, 3]));
}

#[tokio::test]
async fn a_reset_ends_both_halves() {
    let (mut client, mut connection) = session();
    client.open(1, 0, &[]).await;
    let (mut receiving, mut sending) = connection.opened().await.unwrap().accept().await.unwrap();
    client.replied(1).await;
    client.frame(RESET, 0, &[0, 0, 0, 1, 0, 0, 0, 5]).await;
    assert_eq!(receiving.data().await, Err(Gone));
    assert_eq!(sending.send(Bytes::from_static(b"late")).await, Err(Gone));
}

#[tokio::test]
async fn streams_that_are_refused_or_dropped_are_reset() {
    let (mut client, mut connection) = session();
    client.open(1, 0, &[]).await;
    connection.opened().await.unwrap().refuse().await.unwrap();
    assert_eq!(
        client.read().await,
        (RESET, 0, vec![0, 0, 0, 1, 0, 0, 0, 5])
    );
    client.open(3, 0, &[]).await;
    let halves = connection.opened().await.unwrap().accept().await.unwrap();
    client.replied(3).await;
    drop(halves);
    assert_eq!(
        client.read().await,
        (RESET, 0, vec![0, 0, 0, 3, 0, 0, 0, 5])
    );
    // What still comes for it goes nowhere, and the session goes on.
    client.data(3, 0, &[0; 1000]).await;
    client.frame(PING, 0, &[0, 0, 0, 5]).await;
    assert_eq!(client.read().await.0, PING);
}

#[tokio::test]
async fn identifiers_that_a_client_may_not_use_are_reset() {
    let (mut client, mut connection) = session();
    client.open(5, 0, &[]).await;
    assert_eq!(connection.opened().await.unwrap().id(), 5);
    for stream in [3, 6, 5] {
        client.open(stream, 0, &[]).await;
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0, 0, 0, 1]);
        assert_eq!(client.read().await, (RESET, 0, payload));
    }
}

#[tokio::test]
async fn closing_sends_everything_first() {
    let (mut client, mut connection) = session();
    client.open(1, 0, &[]).await;
    let (_receiving, mut sending) = connection.opened().await.unwrap().accept().await.unwrap();
    let send = async move {
        sending.send(vec![7; 100_000].into()).await.unwrap();
        sending.finish().await.unwrap();
        connection.close().await;
    };
    let read = async move {
        client.replied(1).await;
        let mut length = 0;
        loop {
            let (head, flags, data) = client.read().await;
            assert_eq!(head, 1_u32.to_be_bytes());
            length += data.len();
            if flags == 1 {
                break;
            }
        }
        assert_eq!(length, 100_000);
        assert_eq!(
            client.read().await,
            (GOAWAY, 0, vec![0, 0, 0, 1, 0, 0, 0, 0])
        );
        assert_eq!(client.io.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(send, read);
}

#[tokio::test]
async fn nonsense_ends_the_session_and_its_streams() {
    for nonsense in [
        // Another version, a control frame beyond the limit, a block that does not inflate.
        vec![0x80, 2, 0, 1, 0, 0, 0, 0],
        vec![0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff],
        vec![
            0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
        ],
    ] {
        let (mut client, mut connection) = session();
        client.open(1, 0, &[]).await;
        let (mut receiving, _sending) = connection.opened().await.unwrap().accept().await.unwrap();
        client.io.write_all(&nonsense).await.unwrap();
        assert_eq!(receiving.data().await, Err(Gone));
        assert!(connection.opened().await.is_none());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_makes_senders_wait() {
    let (mut client, mut connection) = session();
    client.open(1, 0, &[]).await;
    let (_receiving, mut sending) = connection.opened().await.unwrap().accept().await.unwrap();
    client.replied(1).await;
    let length = 4 * 1024 * 1024;
    let send = async {
        sending.send(vec![7; length].into()).await.unwrap();
    };
    tokio::pin!(send);
    for _ in 0..1000 {
        assert!(futures_util::poll!(send.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let read = async {
        let mut left = length;
        while left > 0 {
            left -= client.read().await.2.len();
        }
    };
    tokio::join!(send, read);
}
