//! Answers to upgrades, and to what is none, that lie about the protocol.

use super::far::FarSide;
use super::wire::Local;
use crate::harness::World;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// What the listener answers when the far side says `far`.
async fn answer(far: &str, headers: &str) -> (String, Vec<String>) {
    let world = World::new().await;
    let far = FarSide::saying(&world, far).await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let request = local.request("GET /api/v1/namespaces/demo/pods/shell/exec", headers);
    let mut stream = local.tls("http/1.1").await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    let head = super::wire::read_head(&mut stream).await;
    (head.expect("an answer"), far.heard())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_what_nobody_asked_for_is_refused() {
    for far in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ] {
        let (head, asked) = answer(far, UPGRADE).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{far}: {head}");
        assert!(asked[0].contains("websocket"), "{asked:?}");
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("upgrade"), "{head}");
    }
    let honest =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let (head, _) = answer(honest, UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_answered_as_a_request_stays_one() {
    let far = "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno";
    let (head, _) = answer(far, UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_answered_with_an_upgrade_is_none() {
    let far =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (head, _) = answer(far, "").await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}
