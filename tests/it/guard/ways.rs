//! What lies on the way: a web proxy, and a relay whose upgrade is right and whose frames are not.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::liars::{Liar, Place, RUN, watched};
use super::wire::{read_all, read_head};
use crate::harness::World;

/// A web proxy is spoken to before there is TLS with anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_proxy_that_lies_is_found_out() {
    let world = World::new().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/\r\n\r\n");
    let line = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";
    for (words, again, why) in [
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyy", "does not end"),
        ("HTTP/1.1 200 OK\r\n", line, "does not end"),
        ("HTTP/1.1 403 No\r\n\r\n", "yyyyyyyyyyyyyyyy", "403 No"),
        (
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "",
            "it speaks where the host should",
        ),
        (&moved, "", "302 Found"),
    ] {
        let said = words.to_owned();
        let liar = Liar::start(move |mut tcp, heard| {
            let words = said.clone();
            Box::pin(async move {
                let Some(head) = read_head(&mut tcp).await else {
                    return;
                };
                heard.lock().unwrap().extend(head.into_bytes());
                let again = again.repeat(1_000);
                let _ = tcp.write_all(words.as_bytes()).await;
                while !again.is_empty() && tcp.write_all(again.as_bytes()).await.is_ok() {}
                let rest = read_all(&mut tcp).await;
                heard.lock().unwrap().extend(rest.into_bytes());
            })
        })
        .await;
        let cloud = world.cloud_with(|cloud| cloud["authority"] = "https://login.example".into());
        let mut command = world.arcproxy(&RUN);
        let url = format!("http://localhost:{}", liar.address.port());
        command.env("ARCPROXY_CLOUD", cloud).env("HTTPS_PROXY", url);
        let (ran, most) = watched(command).await;
        ran.failed(5, &["web proxy http://localhost:", why]);
        assert!(most < 96, "{words:?} took {most} MiB");
        // One request on each connection, and nothing behind it.
        let heard = liar.heard();
        let asked = heard
            .matches("CONNECT login.example:443 HTTP/1.1\r\n")
            .count();
        let ends = heard.matches("\r\n\r\n").count();
        assert!(asked > 0 && asked == ends, "{words:?}: {heard}");
        assert!(elsewhere.accept().now_or_never().is_none());
    }
}

/// The answer to the WebSocket upgrade in `head`.
fn upgraded(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Frames (RFC 6455, section 5.2) that are said once, and again and again.
type Frames = (&'static str, Vec<u8>, Vec<u8>);

fn frames() -> Vec<Frames> {
    const FIN: u8 = 0x80;
    const RESERVED: u8 = 0x40;
    const MORE: u8 = 0;
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    const PING: u8 = 9;
    const MASKED: u8 = 0x80;
    const LONG: u8 = 127;
    const SHORT: u8 = 126;
    let some = vec![7; 16 << 10];
    let part = |kind: u8| [&[kind, SHORT, 0x40, 0][..], &some].concat();
    let length = (u64::MAX >> 1).to_be_bytes();
    vec![
        (
            "a frame without an end",
            [&[FIN | BINARY, LONG][..], &length].concat(),
            some.clone(),
        ),
        ("a message without an end", part(BINARY), part(MORE)),
        (
            "pings",
            Vec::new(),
            [&[FIN | PING, 125][..], &[7; 125]].concat().repeat(100),
        ),
        (
            "empty messages",
            Vec::new(),
            [FIN | BINARY, 0].repeat(1_000),
        ),
        (
            "a masked frame",
            vec![FIN | BINARY, MASKED | 1, 1, 2, 3, 4, 5],
            Vec::new(),
        ),
        (
            "a compressed frame",
            vec![FIN | RESERVED | BINARY, 1, 0],
            Vec::new(),
        ),
        ("text", vec![FIN | TEXT, 1, b'a'], Vec::new()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_frames_lie_is_left() {
    let lied_to = frames().into_iter().map(async |(what, first, again)| {
        let world = World::new().await;
        let authority = world.emulator.authority();
        let tls = authority.server_config(&["*.servicebus.localhost"], &["http/1.1"]);
        let tls = TlsAcceptor::from(Arc::new(tls.unwrap()));
        let liar = Liar::start(move |tcp, heard| {
            let (accepting, first, again) = (tls.accept(tcp), first.clone(), again.clone());
            Box::pin(async move {
                let Ok(mut stream) = accepting.await else {
                    return;
                };
                let Some(head) = read_head(&mut stream).await else {
                    return;
                };
                let said = [upgraded(&head).as_bytes(), &first].concat();
                heard.lock().unwrap().extend(head.into_bytes());
                let _ = stream.write_all(&said).await;
                while !again.is_empty() && stream.write_all(&again).await.is_ok() {}
                read_all(&mut stream).await;
            })
        })
        .await;
        let (ran, most) = liar.run(&world, Place::Relay).await;
        ran.failed(5, &[]);
        assert!(liar.heard().contains("$hc"), "{what}: nothing was asked");
        assert!(most < 96, "{what} took {most} MiB");
    });
    futures_util::future::join_all(lied_to).await;
}
