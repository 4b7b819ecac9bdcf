//! Faults of the relay.

use arc_emulator::relay::Cut;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{PATIENCE, Socket, Stage, close_code, is_silent, receive, refused_with, send};

/// The error with which a socket ends.
async fn broken(socket: &mut Socket) -> Error {
    let reading = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(_))) => {}
                Some(Err(error)) => return error,
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

fn is_reset(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn dials_are_refused_with_the_status_asked_for() {
    let stage = Stage::new().await;
    let _control = stage.listen().await;
    for status in [401, 403, 404, 429, 500, 503, 504] {
        stage
            .faults
            .update(|faults| faults.refuse_dials = Some(status));
        assert_eq!(refused_with(stage.dial().await), status);
    }
}

#[tokio::test]
async fn a_black_hole_takes_the_dial_and_is_silent() {
    let stage = Stage::new().await;
    let _control = stage.listen().await;
    stage.faults.update(|faults| faults.black_hole_dials = true);
    let mut sender = stage.dial().await.unwrap();
    sender.send(Message::Ping("hello?".into())).await.unwrap();
    send(&mut sender, &b"hello?"[..]).await;
    is_silent(&mut sender).await;
    assert_eq!(stage.relay.seen().open_tunnels, 1);
    drop(sender);
    stage.seen(|seen| seen.open_tunnels == 0).await;
}

#[tokio::test]
async fn open_tunnels_can_be_closed_with_any_code() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.relay.drop_tunnels(Cut::Close(1011));
    let codes = tokio::join!(close_code(&mut sender), close_code(&mut listener));
    assert_eq!(codes, (1011, 1011));
    // The next ones are not touched.
    let (mut sender, mut listener) = stage.tunnel().await;
    send(&mut sender, &b"again"[..]).await;
    assert_eq!(receive(&mut listener, 5).await, b"again");
}

#[tokio::test]
async fn open_tunnels_can_be_reset() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.relay.drop_tunnels(Cut::Reset);
    let (sender, listener) = tokio::join!(broken(&mut sender), broken(&mut listener));
    assert!(is_reset(&sender), "{sender}");
    assert!(is_reset(&listener), "{listener}");
    stage.seen(|seen| seen.open_tunnels == 0).await;
}

#[tokio::test]
async fn open_tunnels_can_fall_silent_and_be_reset_then() {
    let stage = Stage::new().await;
    let (mut sender, mut listener) = stage.tunnel().await;
    stage.relay.drop_tunnels(Cut::BlackHole);
    sender.send(Message::Ping("hello?".into())).await.unwrap();
    // The ping may have been on its way before the silence: only what follows counts.
    let _ = tokio::time::timeout(crate::harness::SILENCE, sender.next()).await;
    send(&mut sender, &b"hello?"[..]).await;
    sender.send(Message::Ping("hello?".into())).await.unwrap();
    is_silent(&mut sender).await;
    is_silent(&mut listener).await;
    assert_eq!(stage.relay.seen().open_tunnels, 1);
    stage.relay.drop_tunnels(Cut::Reset);
    let error = broken(&mut sender).await;
    assert!(is_reset(&error), "{error}");
}

#[tokio::test]
async fn a_tunnel_is_cut_after_so_many_bytes() {
    let stage = Stage::new().await;
    stage
        .faults
        .update(|faults| faults.cut_after_bytes = Some(100_000));
    let (mut sender, mut listener) = stage.tunnel().await;
    send(&mut sender, vec![0; 40_000]).await;
    assert_eq!(receive(&mut listener, 40_000).await.len(), 40_000);
    send(&mut listener, vec![0; 70_000]).await;
    let error = broken(&mut sender).await;
    assert!(is_reset(&error), "{error}");
    let seen = stage.relay.seen();
    assert_eq!((seen.bytes_up, seen.bytes_down), (40_000, 60_000));
}

#[tokio::test]
async fn a_dial_over_a_long_path_takes_its_round_trips() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    stage.faults.update(|faults| faults.rtt_ms = 40);
    let start = std::time::Instant::now();
    let dialling = async {
        let sender = stage.dial().await.unwrap();
        (sender, start.elapsed())
    };
    let ((_sender, took), _listener) = tokio::join!(dialling, stage.meet(&mut control));
    // TCP, TLS and the upgrade, during which the listener, as far away, comes in three of its own.
    assert!(took.as_millis() >= 6 * 40 - 20, "{took:?}");
}
