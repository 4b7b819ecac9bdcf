//! Bytes between a WebSocket and the connection to a target.
//!
//! The end of the target's stream becomes a close of the WebSocket, after everything before it; a
//! close of the WebSocket becomes the end of the stream to the target, whose other direction is then read to its
//! end. A WebSocket that is closed takes no more bytes, so that what is read then has nowhere to
//! go: a true half-close is the business of the TLS inside.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::connect::WebSocket;
use super::dialect::{self, Preamble};
use super::{Counters, Dialect};
use crate::door::Stream;

/// How much is read from the target at once.
const BUFFER: usize = 128 << 10;

/// How long a side may take to finish once the other has.
const LINGER: Duration = Duration::from_secs(10);

/// Bridges until both sides have ended.
pub(super) async fn run(socket: WebSocket, target: Stream, dialect: Dialect, counters: &Counters) {
    let (mut to_relay, mut from_relay) = socket.split();
    let (from_target, to_target) = tokio::io::split(target);
    let mut first = Bytes::new();
    if dialect == Dialect::Bridge {
        let Some(rest) = negotiate(&mut from_relay, &mut to_relay).await else {
            counters.bad_preambles.fetch_add(1, Ordering::Relaxed);
            close(to_relay, from_relay).await;
            return;
        };
        first = rest;
    }
    let inward = inward(&mut from_relay, to_target, first);
    let outward = outward(from_target, &mut to_relay);
    tokio::pin!(inward, outward);
    // Whichever way ends first, the other may finish; a silent one is not waited for.
    tokio::select! {
        () = &mut inward => {
            let _ = tokio::time::timeout(LINGER, outward).await;
        }
        () = &mut outward => {
            let _ = tokio::time::timeout(LINGER, inward).await;
        }
    }
}

/// Reads the preamble and answers it. Returns the bytes that came behind it, or `None` if it was
/// refused.
async fn negotiate(
    from: &mut SplitStream<WebSocket>,
    to: &mut SplitSink<WebSocket, Message>,
) -> Option<Bytes> {
    let mut read = BytesMut::new();
    loop {
        match dialect::parse(&read) {
            Preamble::Agreed(length) => {
                let agreed = Bytes::from_static(&dialect::AGREED);
                to.send(Message::Binary(agreed)).await.ok()?;
                return Some(read.split_off(length).freeze());
            }
            Preamble::Refused(answer) => {
                if !answer.is_empty() {
                    to.send(Message::Binary(Bytes::from_static(answer)))
                        .await
                        .ok()?;
                }
                return None;
            }
            Preamble::Incomplete => {}
        }
        match from.next().await? {
            Ok(Message::Binary(bytes)) => read.extend_from_slice(&bytes),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// From the relay to the target, `first` before all else.
async fn inward(from: &mut SplitStream<WebSocket>, mut to: WriteHalf<Stream>, first: Bytes) {
    if to.write_all(&first).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Binary(bytes) => {
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            Message::Text(text) => {
                if to.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
            // Reading on sends the answer to it.
            Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    // A target that has gone needs no end of stream.
    let _ = to.shutdown().await;
}

/// From the target to the relay, then the close.
async fn outward(mut from: ReadHalf<Stream>, to: &mut SplitSink<WebSocket, Message>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(BUFFER);
        let read = if let Some(read) = from.read_buf(&mut buffer).now_or_never() {
            read
        } else {
            if to.flush().await.is_err() {
                break;
            }
            from.read_buf(&mut buffer).await
        };
        if !matches!(read, Ok(1..)) {
            // A relay that has gone takes no close.
            let _ = to.send(Message::Close(Some(normal()))).await;
            return;
        }
        let message = Message::Binary(buffer.split().freeze());
        if to.feed(message).await.is_err() {
            break;
        }
    }
    drain(from).await;
}

/// Reads to the end what nobody takes any more, so that the target can finish in good order.
async fn drain(mut from: ReadHalf<Stream>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

async fn close(mut to: SplitSink<WebSocket, Message>, mut from: SplitStream<WebSocket>) {
    let closing = async {
        // A relay that has gone takes no close.
        let _ = to.send(Message::Close(Some(normal()))).await;
        while let Some(Ok(_)) = from.next().await {}
    };
    let _ = tokio::time::timeout(LINGER, closing).await;
}

fn normal() -> CloseFrame {
    CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }
}
