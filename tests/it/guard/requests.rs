//! Requests that one side could take for others than the other side does.

use super::far::FarSide;
use super::wire::Local;
use crate::harness::{Proxy, Ran, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

/// A listener before a far side that notes what it hears.
struct Between {
    local: Local,
    far: FarSide,
    _proxy: Proxy,
    _world: World,
}

impl Between {
    async fn new() -> Self {
        let world = World::new().await;
        let far = FarSide::saying(&world, OK).await;
        let proxy = world.proxy(&[]).await;
        Self {
            local: Local::of(&world),
            far,
            _proxy: proxy,
            _world: world,
        }
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_one_length_on_both_sides() {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = Between::new().await;
    for (headers, body) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello "),
        ("Content-Length: 5, 6\r\n", "hello "),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -1\r\n", ""),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("X-A: b\r\n folded: c\r\n", ""),
        (" X-A: b\r\n", ""),
        ("X-A: b\0c\r\n", ""),
        ("X-A: b\rX-B: c\r\n", ""),
        ("X A: b\r\n", ""),
    ] {
        let answer = both
            .local
            .say(both.local.request("POST /api", headers) + body)
            .await;
        assert_eq!(status(&answer), "400", "{headers:?}: {answer}");
        assert_eq!(both.far.heard(), [""; 0], "{headers:?}");
    }
    // Chunked wins over a length, and only one of them goes on.
    let headers = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: close\r\n";
    let chunks = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let answer = both
        .local
        .say(both.local.request("POST /api", headers) + &chunks)
        .await;
    assert_eq!(status(&answer), "200", "{answer}");
    let came = both.far.heard();
    let head = came[0].to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    // It is a body there as here: in one chunk, behind its size.
    let starts = || {
        let came = both.far.heard();
        came.iter()
            .filter(|text| text.starts_with("GET /smuggled"))
            .count()
    };
    assert_eq!(starts(), 0, "{came:?}");
    // A size that is no number ends the request, and what follows it.
    let headers = "Transfer-Encoding: chunked\r\n";
    let chunks = format!("5;\nx\r\nhello\r\n0\r\n\r\n{inner}");
    both.local
        .say(both.local.request("POST /api", headers) + &chunks)
        .await;
    assert_eq!(starts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_the_connection_goes_no_further() {
    let both = Between::new().await;
    let headers = "Connection: close, X-Hop, Keep-Alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n\
         Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
         X-Kept: 2\r\nImpersonate-User: ana\r\nImpersonate-Group: a\r\nImpersonate-Group: b\r\n";
    let request = both.local.request("GET https://localhost/api", headers);
    assert_eq!(both.local.ask(request).await.status, 200);
    let head = both.far.heard()[0].to_ascii_lowercase();
    for gone in ["x-hop", "keep-alive", "proxy-", "te: ", "connection: close"] {
        let there = head
            .lines()
            .any(|line| line.starts_with(gone) || line.ends_with(gone));
        assert!(!there, "{gone}: {head}");
    }
    // What kubectl's own --as sends goes on, each header by itself.
    for kept in [
        "get /api http/1.1\r\n",
        "x-kept: 2",
        "impersonate-user: ana",
        "impersonate-group: a\r\n",
        "impersonate-group: b\r\n",
    ] {
        assert!(head.contains(kept), "{kept}: {head}");
    }
    assert_eq!(head.matches("host: ").count(), 1, "{head}");
    assert!(
        !head.contains("localhost"),
        "the far side's own name: {head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_token_and_only_it_is_replaced() {
    let both = Between::new().await;
    let local = &both.local;
    // Named as the connection's own, it still is neither passed on nor left out.
    let headers = "Connection: close, Authorization\r\n";
    let request = local.request("GET /api", headers);
    assert_eq!(local.ask(request).await.status, 200);
    let head = both.far.heard().concat();
    assert!(!head.contains(&local.token), "{head}");
    let bearers = head
        .to_ascii_lowercase()
        .matches("authorization: bearer ey")
        .count();
    assert_eq!(bearers, 1, "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_cannot_add_a_header() {
    let world = World::new().await;
    let before = world.emulator.aad_proxy().seen().requests;
    let token = world.service_account_token();
    let file = world.path("token");
    for evil in [
        format!("{token}\r\nImpersonate-User: system:admin"),
        format!("{token}\nImpersonate-Group: system:masters"),
        format!("{token}\0"),
        format!("{token} x"),
    ] {
        std::fs::write(&file, &evil).unwrap();
        let from_file = ["--token-file", file.to_str().unwrap(), "--", "true"];
        let ran = world.run(&[&DEMO[..], &from_file].concat()).await;
        ran.failed(2, &["the service-account token from"]);
        if evil.contains('\0') {
            continue;
        }
        let mut command = world.arcproxy(&[&DEMO[..], &["--", "true"]].concat());
        let ran = Ran::of(command.env("ARCPROXY_TOKEN", &evil)).await;
        ran.failed(2, &["the service-account token from"]);
    }
    assert_eq!(world.emulator.aad_proxy().seen().requests, before);
}
