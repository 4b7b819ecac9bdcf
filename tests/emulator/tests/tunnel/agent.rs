//! The agent between the relay and a TCP target.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_emulator::agent::{Agent, AgentConfig, Dialect};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    LISTENER, NAMESPACE, PATIENCE, Socket, Stage, close_code, receive, receive_to_close,
    refused_with, send, until,
};

/// Starts an agent on `stage` that leads to `target`.
pub(crate) async fn start(stage: &Stage, dialect: Dialect, target: SocketAddr) -> Agent {
    start_with(stage, dialect, target, 3600).await
}

async fn start_with(
    stage: &Stage,
    dialect: Dialect,
    target: SocketAddr,
    token_seconds: u64,
) -> Agent {
    stage.faults.update(|faults| faults.dialect = dialect);
    let (relay, faults) = (Arc::clone(&stage.relay), stage.faults.clone());
    Agent::start(AgentConfig {
        relay: stage.relay.agent_door().address().into(),
        namespace: NAMESPACE.to_owned(),
        path: LISTENER.to_owned(),
        tls: stage.tls.clone(),
        target: target.into(),
        faults: stage.faults.clone(),
        token: Arc::new(move || {
            relay.listener_token(NAMESPACE, LISTENER, faults.cloud_time() + token_seconds)
        }),
    })
    .await
    .unwrap()
}

/// A target that a test plays.
pub(crate) async fn target() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A sender and the target's end of its stream.
pub(crate) async fn stream(stage: &Stage, target: &TcpListener) -> (Socket, TcpStream) {
    let (sender, accepted) = tokio::join!(stage.dial(), target.accept());
    (sender.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn a_raw_stream_is_the_tcp_connection() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    let (mut sender, mut tcp) = stream(&stage, &listener).await;
    send(&mut sender, &b"\x16\x03\x01"[..]).await;
    let mut hello = [0; 3];
    tcp.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"\x16\x03\x01");
    tcp.write_all(b"\x16\x03\x03").await.unwrap();
    assert_eq!(receive(&mut sender, 3).await, b"\x16\x03\x03");
    let seen = agent.seen();
    assert!(seen.listening);
    assert_eq!((seen.channels, seen.accepts, seen.open_streams), (1, 1, 1));
}

#[tokio::test]
async fn the_end_of_tcp_becomes_a_close_after_all_bytes() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    let (mut sender, mut tcp) = stream(&stage, &listener).await;
    let writing = async {
        tcp.write_all(&vec![5; 3 << 20]).await.unwrap();
        tcp.shutdown().await.unwrap();
    };
    let ((bytes, close), ()) = tokio::join!(receive_to_close(&mut sender), writing);
    assert_eq!(bytes.len(), 3 << 20);
    assert_eq!(close.map(|frame| frame.code.into()), Some(1000_u16));
    // The other direction ends too, in good order.
    let mut rest = Vec::new();
    assert!(sender.next().await.is_none());
    tcp.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    until(|| agent.seen().open_streams == 0).await;
}

#[tokio::test]
async fn a_close_becomes_the_end_of_tcp_after_all_bytes() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    let (mut sender, mut tcp) = stream(&stage, &listener).await;
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(tcp.read_to_end(&mut received), async {
        for _ in 0..100 {
            send(&mut sender, vec![6; 20_000]).await;
        }
        sender.close(None).await.unwrap();
    });
    assert_eq!(read.unwrap(), 2_000_000);
    // The target may still finish what it was saying.
    tcp.write_all(&vec![0; 1 << 20]).await.unwrap();
    tcp.shutdown().await.unwrap();
    until(|| agent.seen().open_streams == 0).await;
}

#[tokio::test]
async fn a_sender_that_vanishes_ends_tcp() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let _agent = start(&stage, Dialect::Raw, address).await;
    let (sender, mut tcp) = stream(&stage, &listener).await;
    drop(sender);
    assert_eq!(tcp.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_preamble_is_answered_and_bytes_follow() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let _agent = start(&stage, Dialect::Bridge, address).await;
    let (mut sender, mut tcp) = stream(&stage, &listener).await;
    // In as many pieces as it has, and the first bytes of the stream behind it.
    for piece in [&b"\x01"[..], &b"\0\0\x034"[..], &b"43early"[..]] {
        send(&mut sender, piece).await;
    }
    assert_eq!(receive(&mut sender, 3).await, [1, 0, 0]);
    let mut early = [0; 5];
    tcp.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    tcp.write_all(b"answer").await.unwrap();
    assert_eq!(receive(&mut sender, 6).await, b"answer");
}

#[tokio::test]
async fn what_is_no_preamble_is_refused() {
    let stage = Stage::new().await;
    let (_listener, address) = target().await;
    let agent = start(&stage, Dialect::Bridge, address).await;
    let mut sender = stage.dial().await.unwrap();
    send(&mut sender, &b"\x16\x03\x01\x02\x00\x01"[..]).await;
    let (answer, close) = receive_to_close(&mut sender).await;
    assert_eq!(answer, [0, 0, 0]);
    assert_eq!(close.map(|frame| frame.code.into()), Some(1000_u16));
    // A port that nobody knows gets no answer at all.
    let mut sender = stage.dial().await.unwrap();
    send(&mut sender, &b"\x01\0\0\x0222"[..]).await;
    assert_eq!(close_code(&mut sender).await, 1000);
    assert_eq!(agent.seen().bad_preambles, 2);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_a_502() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    drop(listener);
    let agent = start(&stage, Dialect::Raw, address).await;
    assert_eq!(refused_with(stage.dial().await), 502);
    assert_eq!(agent.seen().refused, 1);
}

#[tokio::test]
async fn an_agent_that_is_away_comes_back() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    stage.faults.update(|faults| faults.agent_away = true);
    stage.seen(|seen| seen.listeners == 0).await;
    until(|| !agent.seen().listening).await;
    assert_eq!(refused_with(stage.dial().await), 404);
    stage.faults.update(|faults| faults.agent_away = false);
    stage.seen(|seen| seen.listeners == 1).await;
    let _stream = stream(&stage, &listener).await;
    assert_eq!(agent.seen().channels, 2);
}

#[tokio::test]
async fn an_agent_may_start_away() {
    let stage = Stage::new().await;
    let (_listener, address) = target().await;
    stage.faults.update(|faults| faults.agent_away = true);
    let agent = start(&stage, Dialect::Raw, address).await;
    assert!(!agent.seen().listening);
    stage.faults.update(|faults| faults.agent_away = false);
    until(|| agent.seen().listening).await;
}

#[tokio::test]
async fn a_restart_ends_streams_and_listens_again() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    let (mut sender, _tcp) = stream(&stage, &listener).await;
    agent.restart().await.unwrap();
    assert!(agent.seen().listening);
    assert_eq!(close_code(&mut sender).await, 1001);
    let _stream = stream(&stage, &listener).await;
    tokio::time::timeout(PATIENCE, agent.stop()).await.unwrap();
    stage.seen(|seen| seen.listeners == 0).await;
    assert_eq!(refused_with(stage.dial().await), 404);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let stage = Stage::new().await;
    let (_listener, address) = target().await;
    let agent = start_with(&stage, Dialect::Raw, address, 3).await;
    stage.seen(|seen| seen.renewals >= 2).await;
    assert_eq!(agent.seen().channels, 1);
}

#[tokio::test]
async fn a_token_that_ended_unseen_costs_one_channel() {
    let stage = Stage::new().await;
    let (_listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    stage
        .faults
        .update(|faults| faults.clock_offset_seconds = 7200);
    until(|| agent.seen().channels == 2 && agent.seen().listening).await;
    stage.seen(|seen| seen.listeners == 1).await;
}

#[tokio::test]
async fn an_agent_that_is_refused_at_first_fails_to_start() {
    let stage = Stage::new().await;
    let started = Agent::start(AgentConfig {
        relay: stage.relay.agent_door().address().into(),
        namespace: NAMESPACE.to_owned(),
        path: "elsewhere".to_owned(),
        tls: stage.tls.clone(),
        target: stage.relay.address().into(),
        faults: stage.faults.clone(),
        token: Arc::new(String::new),
    });
    let started = tokio::time::timeout(PATIENCE, started).await.unwrap();
    assert!(started.unwrap_err().to_string().contains("401"));
}

#[tokio::test]
async fn a_stalled_sender_stops_the_target() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let _agent = start(&stage, Dialect::Raw, address).await;
    let (mut sender, mut tcp) = stream(&stage, &listener).await;
    let block = vec![3; 64 << 10];
    let mut written = 0;
    while let Ok(more) = tokio::time::timeout(Duration::from_millis(500), tcp.write(&block)).await {
        written += more.unwrap();
        assert!(written < 64 << 20, "{written} bytes taken");
    }
    // Control frames still pass.
    sender.send(Message::Ping("".into())).await.unwrap();
    assert_eq!(receive(&mut sender, written).await.len(), written);
}
