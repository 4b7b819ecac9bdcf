//! Requests that one side could take for others than the other side does.

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::far::FarSide;
use super::wire::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Local, RST_STREAM, begin, field, frame,
    read_frame, read_head,
};
use crate::harness::{DEADLINE, Proxy, Ran, World};

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

/// HTTP/2 has a length for everything and needs no line ends: what it carries could be two requests
/// once it is HTTP/1.1, as a far side without HTTP/2 gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_http_2_is_one_on_http_1_too() {
    const INNER: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both = Between::new().await;
    let local = &both.local;
    let path = format!("{}/api", local.path);
    let fields = |method: &str, path: &str, more: &[(&str, &str)]| {
        let authority = format!("127.0.0.1:{}", local.port);
        let bearer = format!("Bearer {}", local.token);
        let own = [
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", &authority),
            ("authorization", &bearer),
        ];
        let all = own.iter().chain(more);
        all.flat_map(|(name, value)| field(name, value))
            .collect::<Vec<_>>()
    };
    // The kind of the frame with which it ended.
    let say = async |fields: Vec<u8>, body: &[&str]| {
        let mut stream = local.tls("h2").await;
        begin(&mut stream).await.unwrap();
        let mut said = frame(HEADERS, END_HEADERS, 1, &fields);
        for (number, part) in body.iter().enumerate() {
            let end = if number + 1 == body.len() {
                END_STREAM
            } else {
                0
            };
            said.extend(frame(DATA, end, 1, part.as_bytes()));
        }
        stream.write_all(&said).await.unwrap();
        let ending = async {
            while let Some(heard) = read_frame(&mut stream).await {
                let is_last = heard.stream == 1 && heard.flags & END_STREAM != 0;
                if is_last || [RST_STREAM, GOAWAY].contains(&heard.kind) {
                    return heard.kind;
                }
            }
            GOAWAY
        };
        timeout(DEADLINE, ending).await.expect("it ends")
    };
    let post = |more: &[(&str, &str)]| fields("POST", &path, more);
    let injected = format!("a\r\n\r\n{INNER}");
    let in_path = format!("{path} HTTP/1.1\r\nHost: x\r\n\r\n{INNER}");
    let in_method = format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{INNER}GET");
    let chunks = format!("0\r\n\r\n{INNER}");
    let longer = format!("hello{INNER}");
    for (what, fields, body) in [
        ("a value", post(&[("x", &injected)]), &[""][..]),
        ("a line end", post(&[("x", "a\nb: c")]), &[""]),
        ("a name", post(&[("x: a\r\ny", "b")]), &[""]),
        ("a colon", post(&[("x:", "b")]), &[""]),
        ("a path", fields("POST", &in_path, &[]), &[""]),
        (
            "a space",
            fields("POST", &format!("{path} HTTP/1.1"), &[]),
            &[""],
        ),
        ("a method", fields(&in_method, &path, &[]), &[""]),
        (
            "a coding",
            post(&[("transfer-encoding", "chunked")]),
            &[&chunks],
        ),
        ("no length", post(&[("content-length", "0")]), &[INNER]),
        (
            "a shorter one",
            post(&[("content-length", "5")]),
            &[&longer],
        ),
        (
            "what follows it",
            post(&[("content-length", "5")]),
            &["hello", INNER],
        ),
        ("a longer one", post(&[("content-length", "9")]), &["hello"]),
        (
            "two of them",
            post(&[("content-length", "5"), ("content-length", "50")]),
            &["hello"],
        ),
        ("a connection", post(&[("connection", "close")]), &[""]),
        ("a second path", post(&[(":path", "/smuggled")]), &[""]),
    ] {
        let ended = say(fields, body).await;
        // What is refused may have begun, but is not followed by another one.
        let heard = both.far.heard();
        let is_second = |text: &String| format!("\n{text}").contains("\nGET /smuggled");
        assert!(!heard.iter().any(is_second), "{what}: {heard:?}");
        let is_refused = [RST_STREAM, GOAWAY].contains(&ended);
        assert!(is_refused, "{what} is answered: {heard:?}");
    }
    let before = both.far.heard().len();
    let ended = say(post(&[("content-length", "5")]), &["hello"]).await;
    assert_eq!(ended, DATA, "what is right is answered");
    let heard = both.far.heard().split_off(before);
    assert!(heard[0].starts_with("POST /api HTTP/1.1\r\n"), "{heard:?}");
}

/// What an answer's head says about its length, over HTTP/1.1: the status that is made of it.
const LENGTHS: [(&str, u16); 11] = [
    ("Content-Length: 2\r\nContent-Length: 5\r\n\r\nok", 502),
    ("Content-Length: 2, 5\r\n\r\nok", 502),
    ("Content-Length: +2\r\n\r\nok", 502),
    ("Content-Length: -2\r\n\r\nok", 502),
    (
        "Transfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        502,
    ),
    ("X-A: b\r\n folded: c\r\nContent-Length: 2\r\n\r\nok", 502),
    ("X-A: b\0c\r\nContent-Length: 2\r\n\r\nok", 502),
    ("X-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nok", 502),
    ("X A: b\r\nContent-Length: 2\r\n\r\nok", 502),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
    ),
    // What looks like the end would be none.
    (
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_one_length_on_both_sides() {
    let world = World::new().await;
    // Each path has an answer of its own.
    let _far = FarSide::start(&world, &["http/1.1"], |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let number = path.trim_start_matches('/').parse::<usize>();
            let answer = number.map_or(OK.to_owned(), |number| {
                format!("HTTP/1.1 200 OK\r\n{}", LENGTHS[number].0)
            });
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    for (number, (far, status)) in LENGTHS.into_iter().enumerate() {
        let request = local.request(&format!("POST /{number}"), "Connection: close\r\n");
        let answer = local.ask(request).await;
        assert_eq!(answer.status, status, "{far:?}: {answer:?}");
        if status == 502 {
            assert!(answer.body.contains("\"kind\":\"Status\""), "{answer:?}");
        } else {
            assert!(answer.body.contains("ok"), "{answer:?}");
            assert!(!answer.head.contains("content-length"), "{answer:?}");
        }
    }
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
