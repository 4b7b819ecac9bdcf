//! Cuts within what a tunnel carries, tunnels that stand still, and a relay that is away.

use std::io::ErrorKind;

use arc_emulator::relay::Cut;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{PATIENCE, Socket, Stage, is_silent, receive, send};

/// What arrives whole before a socket breaks, and the error.
async fn until_broken(socket: &mut Socket) -> (Vec<u8>, Error) {
    let mut whole = Vec::new();
    let reading = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => whole.extend_from_slice(&bytes),
                Some(Err(error)) => return error,
                other => panic!("{other:?}"),
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    (whole, error)
}

#[tokio::test]
async fn a_tunnel_can_end_within_a_frame_of_any_length() {
    for length in [100, 1_000, 100_000] {
        let stage = Stage::new().await;
        let (mut sender, mut listener) = stage.tunnel().await;
        send(&mut sender, &b"before"[..]).await;
        assert_eq!(receive(&mut listener, 6).await, b"before");
        stage.relay.drop_tunnels(Cut::InFrame);
        // The order is heard before the message, or else the message after it is torn.
        send(&mut listener, vec![7; length]).await;
        send(&mut listener, vec![7; length]).await;
        let (whole, _) = until_broken(&mut sender).await;
        assert!(whole.len() < 2 * length, "{} bytes", whole.len());
        assert_eq!(whole.len() % length, 0, "{} bytes", whole.len());
        stage.seen(|seen| seen.open_tunnels == 0).await;
    }
}

#[tokio::test]
async fn a_tunnel_can_end_within_a_message_whose_frame_is_whole() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.relay.drop_tunnels(Cut::InMessage);
    send(&mut listener, vec![7; 1_000]).await;
    send(&mut listener, vec![7; 1_000]).await;
    until_broken(&mut sender).await;
    let carried = stage.relay.seen().bytes_down;
    assert!([500, 1_500].contains(&carried), "{carried} bytes");
}

#[tokio::test]
async fn one_tunnel_can_end_alone() {
    let stage = Stage::new().await;
    let mut tunnels = vec![stage.tunnel().await, stage.tunnel().await];
    stage.relay.drop_tunnel(Cut::Reset);
    stage.seen(|seen| seen.open_tunnels == 1).await;
    let mut left = 0;
    for (sender, listener) in &mut tunnels {
        // One of the two has gone.
        let _ = sender.send(Message::binary(&b"still here"[..])).await;
        left += usize::from(matches!(
            listener.next().await,
            Some(Ok(Message::Binary(_)))
        ));
    }
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_tunnel_that_stood_still_has_lost_nothing() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.faults.update(|faults| faults.stall_tunnels = true);
    send(&mut sender, &b"late"[..]).await;
    is_silent(&mut listener).await;
    stage.faults.update(|faults| faults.stall_tunnels = false);
    assert_eq!(receive(&mut listener, 4).await, b"late");
}

#[tokio::test]
async fn a_relay_that_is_away_takes_everything_with_it_and_comes_back() {
    let stage = Stage::new().await;
    let (mut sender, _listener) = stage.tunnel().await;
    stage.faults.update(|faults| faults.relay_away = true);
    until_broken(&mut sender).await;
    stage
        .seen(|seen| seen.open_tunnels == 0 && seen.listeners == 0)
        .await;
    let mut tcp = TcpStream::connect(stage.relay.address()).await.unwrap();
    let error = tcp.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    stage.faults.update(|faults| faults.relay_away = false);
    stage.tunnel().await;
}
