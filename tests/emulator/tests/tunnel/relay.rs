//! A sender and a listener that have met.

use std::time::Duration;

use arc_emulator::relay::Limits;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::harness::{
    NAMESPACE, PATH, Socket, Stage, close_code, next, receive, receive_to_close, send,
};

#[tokio::test]
async fn bytes_pass_both_ways() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    send(&mut sender, &b"question"[..]).await;
    assert_eq!(receive(&mut listener, 8).await, b"question");
    send(&mut listener, &b"answer"[..]).await;
    assert_eq!(receive(&mut sender, 6).await, b"answer");
    // A frame as large as the relay takes.
    let large: Vec<u8> = (0..1_u32 << 20)
        .map(|n| n.to_le_bytes()[n as usize % 4])
        .collect();
    let (received, ()) = tokio::join!(
        receive(&mut listener, large.len()),
        send(&mut sender, large.clone())
    );
    assert!(received == large);
    let seen = stage.relay.seen();
    assert_eq!((seen.bytes_up, seen.bytes_down), (8 + (1 << 20), 6));
    assert_eq!((seen.open_tunnels, seen.tunnels_total), (1, 1));
}

#[tokio::test]
async fn pings_are_answered_by_the_relay_and_counted() {
    let stage = Stage::new().await;
    let (mut sender, _listener) = stage.tunnel().await;
    let ping = Message::Ping(b"are you there"[..].into());
    sender.send(ping).await.unwrap();
    assert_eq!(
        next(&mut sender).await,
        Message::Pong(b"are you there"[..].into())
    );
    assert_eq!(stage.relay.seen().pings, 1);
}

#[tokio::test]
async fn a_close_passes_with_its_code_after_all_bytes() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    send(&mut listener, vec![1; 300_000]).await;
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "done".into(),
    };
    listener
        .send(Message::Close(Some(frame.clone())))
        .await
        .unwrap();
    let (bytes, close) = receive_to_close(&mut sender).await;
    assert_eq!(bytes.len(), 300_000);
    assert_eq!(close, Some(frame));
    // The relay ends the connection in good order.
    assert!(sender.next().await.is_none());
    stage.seen(|seen| seen.open_tunnels == 0).await;
}

#[tokio::test]
async fn a_close_without_a_code_becomes_1000() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    sender.send(Message::Close(None)).await.unwrap();
    assert_eq!(close_code(&mut listener).await, 1000);
}

#[tokio::test]
async fn a_peer_that_vanishes_becomes_1001() {
    let stage = Stage::new().await;
    let (sender, mut listener) = stage.tunnel().await;
    drop(sender);
    assert_eq!(close_code(&mut listener).await, 1001);
    let (mut sender, listener) = stage.tunnel().await;
    drop(listener);
    assert_eq!(close_code(&mut sender).await, 1001);
}

#[tokio::test]
async fn a_deleted_path_becomes_1001_and_is_gone() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.relay.remove(NAMESPACE, PATH);
    let codes = tokio::join!(close_code(&mut sender), close_code(&mut listener));
    assert_eq!(codes, (1001, 1001));
    assert_eq!(crate::harness::refused_with(stage.dial().await), 404);
}

#[tokio::test]
async fn an_idle_tunnel_is_dropped() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let (mut sender, mut listener) = stage.tunnel().await;
    // Pings keep it.
    let start = std::time::Instant::now();
    while start.elapsed() < limits.idle * 2 {
        tokio::time::sleep(limits.idle / 6).await;
        sender.send(Message::Ping("".into())).await.unwrap();
        assert!(matches!(next(&mut sender).await, Message::Pong(_)));
    }
    let codes = tokio::join!(close_code(&mut sender), close_code(&mut listener));
    assert_eq!(codes, (1001, 1001));
}

#[tokio::test]
async fn a_token_that_ends_leaves_open_tunnels_alone() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    let token = stage.sender_token();
    stage
        .faults
        .update(|faults| faults.clock_offset_seconds = 7200);
    send(&mut sender, &b"still"[..]).await;
    assert_eq!(receive(&mut listener, 5).await, b"still");
    let dialled = stage.open(&stage.url(PATH, "connect"), Some(&token)).await;
    assert_eq!(crate::harness::refused_with(dialled), 401);
}

#[tokio::test]
async fn a_reader_that_stalls_stops_its_writer() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    let accepted = fill(&mut sender).await;
    // Two sockets' worth of kernel buffers, and the relay's own little.
    assert!(accepted < 32 << 20, "{accepted} bytes accepted");
    // The other way is not stopped.
    send(&mut listener, &b"hello"[..]).await;
    assert_eq!(receive(&mut sender, 5).await, b"hello");
    // And nothing of it is lost.
    let (received, ()) = tokio::join!(receive(&mut listener, accepted), async {
        sender.flush().await.unwrap();
    });
    assert!(received.iter().all(|byte| *byte == 9));
    assert_eq!(received.len(), accepted);
}

/// Sends until nothing more is taken; says how much was.
async fn fill(socket: &mut Socket) -> usize {
    const FRAME: usize = 64 << 10;
    let mut accepted = 0;
    loop {
        let frame = Message::Binary(vec![9; FRAME].into());
        let sending = tokio::time::timeout(crate::harness::SILENCE * 3, socket.feed(frame));
        match sending.await {
            Ok(fed) => fed.unwrap(),
            // A frame that was not taken was not queued either.
            Err(_) => return accepted,
        }
        accepted += FRAME;
    }
}

#[tokio::test]
async fn stopping_ends_everything() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let (sender, mut listener) = tokio::join!(stage.dial(), stage.meet(&mut control));
    let mut sender = sender.unwrap();
    tokio::time::timeout(crate::harness::PATIENCE, stage.relay.stop())
        .await
        .unwrap();
    for socket in [&mut sender, &mut listener, &mut control] {
        assert!(!matches!(socket.next().await, Some(Ok(Message::Binary(_)))));
    }
    assert_eq!(stage.relay.seen().open_tunnels, 0);
}
