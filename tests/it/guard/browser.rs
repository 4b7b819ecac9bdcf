//! Web pages in the user's browser.

use http::Request;
use http_body_util::Empty;

use super::wire::{Answer, Local};
use crate::harness::World;

/// Headers of an answer that say nothing about what gave it.
const HARMLESS: [&str; 4] = ["connection", "content-length", "content-type", "date"];

fn headers(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.lines().skip(1);
    lines.filter_map(|line| line.split(':').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_leads_here_gets_nothing() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = world.emulator.aad_proxy().seen().requests;
    let bearer = format!("Authorization: Bearer {}\r\n", local.token);
    for host in [
        format!("Host: rebound.example:{}\r\n", local.port),
        "Host: 127.0.0.1.rebound.example\r\n".to_owned(),
        "Host: 10.0.0.1\r\n".to_owned(),
        "Host: localhost\r\nHost: rebound.example\r\n".to_owned(),
        String::new(),
    ] {
        for path in ["/healthz", &format!("{}/version", local.path)] {
            for authorization in ["", &bearer] {
                let request = format!(
                    "GET {path} HTTP/1.1\r\n{host}{authorization}Connection: close\r\n\r\n"
                );
                let answer = local.ask(&request).await;
                assert_eq!(answer.status, 421, "{request}");
                assert!(answer.body.contains("\"kind\":\"Status\""), "{answer:?}");
            }
        }
    }
    let absolute = format!(
        "GET https://rebound.example/version HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n\r\n"
    );
    assert_eq!(local.ask(absolute).await.status, 421);
    // Browsers speak HTTP/2, in which the target has the name.
    let port = local.port;
    for (named, host) in [
        (format!("rebound.example:{port}"), None),
        (format!("rebound.example:{port}"), Some("localhost")),
        ("localhost".to_owned(), Some("rebound.example")),
    ] {
        for path in ["/healthz", &format!("{}/version", local.path)] {
            for token in [None, Some(format!("Bearer {}", local.token))] {
                let mut request = Request::get(format!("https://{named}{path}"));
                for (name, value) in [("host", host), ("authorization", token.as_deref())] {
                    if let Some(value) = value {
                        request = request.header(name, value);
                    }
                }
                let (status, body) = local.ask_h2(request.body(Empty::new()).unwrap()).await;
                assert_eq!(status, 421, "{named} {host:?} {path}: {body}");
                assert!(body.contains("\"kind\":\"Status\""), "{body}");
            }
        }
    }
    let own = Request::get(format!("https://localhost:{port}/healthz"));
    let answer = local.ask_h2(own.body(Empty::new()).unwrap()).await;
    assert_eq!(answer, (200, "ok".to_owned()));
    assert_eq!(world.emulator.aad_proxy().seen().requests, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_neither_ask_nor_read() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = world.emulator.aad_proxy().seen().requests;
    let page = "Host: 127.0.0.1\r\nOrigin: https://page.example\r\nConnection: close\r\n";
    let pods = format!("{}/api/v1/namespaces/demo/pods", local.path);
    for (line, headers_sent, body) in [
        // The question before a question, and what is asked without one.
        (
            format!("OPTIONS {pods}"),
            "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\
             Access-Control-Request-Private-Network: true\r\n",
            "",
        ),
        (format!("GET {pods}"), "", ""),
        (
            format!("POST {pods}"),
            "Content-Type: text/plain\r\nContent-Length: 2\r\n",
            "{}",
        ),
        (
            format!("POST {pods}"),
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n",
            "a=b",
        ),
        ("GET /healthz".to_owned(), "", ""),
    ] {
        let request = format!("{line} HTTP/1.1\r\n{page}{headers_sent}\r\n{body}");
        let answer = local.ask(&request).await;
        let expected = if line.ends_with("/healthz") { 200 } else { 401 };
        assert_eq!(answer.status, expected, "{request}");
        assert!(!answer.head.contains("access-control"), "{answer:?}");
        assert!(!answer.head.contains("set-cookie"), "{answer:?}");
    }
    assert_eq!(world.emulator.aad_proxy().seen().requests, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_opens_no_websocket() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = world.emulator.aad_proxy().seen().requests;
    let exec = format!(
        "GET {}/api/v1/namespaces/demo/pods/shell/exec?command=id&stdout=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        local.path
    );
    // A page cannot set Authorization; the apiserver would take a token from here, which a page
    // would have to know.
    for protocol in [
        "v5.channel.k8s.io".to_owned(),
        format!(
            "base64url.bearer.authorization.k8s.io.{}, v5.channel.k8s.io",
            local.token
        ),
    ] {
        let request = format!(
            "{exec}Origin: https://page.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        // Nothing is upgraded, so the connection waits for the next request.
        let mut stream = local.tls("http/1.1").await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .unwrap();
        let head = super::wire::read_head(&mut stream)
            .await
            .expect("an answer");
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
    }
    assert_eq!(world.emulator.aad_proxy().seen().requests, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn healthz_tells_nothing() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = local.ask(request).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    for name in headers(&answer) {
        assert!(HARMLESS.contains(&name), "{answer:?}");
    }
    let with_wrong_token = request.replace("\r\n\r\n", "\r\nAuthorization: Bearer x\r\n\r\n");
    let answer = local.ask(with_wrong_token).await;
    assert_eq!(answer.status, 401);
    for name in headers(&answer) {
        assert!(HARMLESS.contains(&name), "{answer:?}");
    }
    for word in ["edge-demo", &local.path, env!("CARGO_PKG_VERSION"), "azure"] {
        assert!(!answer.body.contains(word), "{word}: {answer:?}");
    }
}
