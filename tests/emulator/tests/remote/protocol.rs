//! The protocols themselves, spoken by clients that kubectl is too polite to be.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::front::{Front, LIMIT};

const POD: &str = "/api/v1/namespaces/default/pods/web-0";

async fn connect(front: &Front) -> TlsStream<TcpStream> {
    let tls = front.authority.client_config(&["http/1.1"]).unwrap();
    let tcp = TcpStream::connect(front.service.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(tls))
        .connect(name, tcp)
        .await
        .unwrap()
}

async fn websocket(
    front: &Front,
    path: &str,
    protocol: &str,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, Error> {
    let mut request = format!("wss://localhost{POD}{path}")
        .into_client_request()
        .unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_str(protocol).unwrap(),
        );
    }
    let (socket, response) = tokio_tungstenite::client_async(request, connect(front).await).await?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let chosen = chosen.map_or("", |chosen| chosen.to_str().unwrap());
    assert!(protocol.split(", ").any(|offered| offered == chosen));
    Ok(socket)
}

/// Sends a plain request with `headers`.
async fn request(front: &Front, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(front).await))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{POD}{path}"))
        .header(header::HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

/// Takes a message apart into its channel and data.
type Decode = fn(Message) -> (u8, Vec<u8>);

/// Reads a session to its end: what each channel carried, by number.
async fn collect(
    socket: &mut WebSocketStream<TlsStream<TcpStream>>,
    decode: Decode,
) -> [Vec<u8>; 4] {
    let mut channels: [Vec<u8>; 4] = Default::default();
    let all = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Close(frame) => {
                    assert_eq!(u16::from(frame.unwrap().code), 1000);
                    return;
                }
                message @ (Message::Binary(_) | Message::Text(_)) => {
                    let (channel, data) = decode(message);
                    channels[usize::from(channel)].extend_from_slice(&data);
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, all).await.unwrap();
    channels
}

fn binary(message: Message) -> (u8, Vec<u8>) {
    let data = message.into_data();
    (data[0], data[1..].to_vec())
}

fn base64(message: Message) -> (u8, Vec<u8>) {
    let text = message.into_text().unwrap();
    let (channel, data) = text.split_at(1);
    (channel.parse().unwrap(), STANDARD.decode(data).unwrap())
}

/// The path that runs a script with the streams `streams`.
fn script(streams: &[&str], text: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("container", "app");
    for stream in streams {
        query.append_pair(stream, "true");
    }
    for word in ["sh", "-c", text] {
        query.append_pair("command", word);
    }
    format!("/exec?{}", query.finish())
}

fn failing() -> String {
    script(&["stdout", "stderr"], "echo out; echo err 1>&2; exit 3")
}

/// Waits until a file in the container grows no more, and returns its size.
async fn stands_still(front: &Front, path: &str) -> u64 {
    let size = script(&["stdout"], &format!("wc -c < {path}"));
    let (mut before, mut same) = (0, 0);
    let full = async {
        while same < 20 {
            let mut socket = websocket(front, &size, "v5.channel.k8s.io").await.unwrap();
            let [_, stdout, _, _] = collect(&mut socket, binary).await;
            let text = String::from_utf8(stdout).unwrap();
            let now = text.trim().parse::<u64>().unwrap_or(0);
            same = if now == before && now > 0 {
                same + 1
            } else {
                0
            };
            before = now;
        }
        before
    };
    tokio::time::timeout(LIMIT, full).await.unwrap()
}

#[tokio::test]
async fn every_channel_protocol_ends_with_a_status() {
    let front = Front::start().await;
    let decoders: [(&str, Decode); 6] = [
        ("v5.channel.k8s.io", binary),
        ("v4.channel.k8s.io", binary),
        ("channel.k8s.io", binary),
        ("", binary),
        ("v4.base64.channel.k8s.io", base64),
        ("base64.channel.k8s.io", base64),
    ];
    for (protocol, decode) in decoders {
        let mut socket = websocket(&front, &failing(), protocol).await.unwrap();
        let [_, stdout, stderr, error] = collect(&mut socket, decode).await;
        assert_eq!(stdout, b"out\n", "{protocol}");
        assert_eq!(stderr, b"err\n", "{protocol}");
        if protocol.starts_with('v') {
            let status: Value = serde_json::from_slice(&error).unwrap();
            assert_eq!(status["reason"], "NonZeroExitCode");
            assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
            assert_eq!(status["details"]["causes"][0]["message"], "3");
        } else {
            let error = String::from_utf8(error).unwrap();
            assert!(error.contains("exit code 3"), "{protocol}: {error}");
        }
    }
}

#[tokio::test]
async fn a_session_starts_with_an_empty_message_and_answers_pings() {
    let front = Front::start().await;
    let path = "/exec?container=app&stdin=true&stdout=true&command=cat";
    let mut socket = websocket(&front, path, "v4.channel.k8s.io").await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert_eq!(binary(first), (1, vec![]));
    socket
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
}

#[tokio::test]
async fn version_5_closes_standard_input_alone() {
    let front = Front::start().await;
    let path = script(&["stdin", "stdout"], "cat; echo end");
    let mut socket = websocket(&front, &path, "v5.channel.k8s.io, v4.channel.k8s.io")
        .await
        .unwrap();
    socket
        .send(Message::binary(b"\0data\n".to_vec()))
        .await
        .unwrap();
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let [_, stdout, _, error] = collect(&mut socket, binary).await;
    assert_eq!(stdout, b"data\nend\n");
    assert_eq!(error, br#"{"metadata":{},"status":"Success"}"#);
}

#[tokio::test]
async fn unasked_outputs_are_not_sent() {
    let front = Front::start().await;
    let path = failing().replace("stderr=true", "stderr=false");
    let mut socket = websocket(&front, &path, "v4.channel.k8s.io").await.unwrap();
    let [_, stdout, stderr, _] = collect(&mut socket, binary).await;
    assert_eq!(
        (stdout.as_slice(), stderr.as_slice()),
        (&b"out\n"[..], &b""[..])
    );
}

#[tokio::test]
async fn unknown_subprotocols_are_forbidden() {
    let front = Front::start().await;
    for (path, protocol) in [
        (failing().as_str(), "v9.channel.k8s.io"),
        ("/portforward?ports=7", "v9.channel.k8s.io"),
        ("/portforward?ports=7", ""),
    ] {
        let Err(Error::Http(refusal)) = websocket(&front, path, protocol).await else {
            panic!("{protocol} was not refused");
        };
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn requests_without_a_proper_upgrade_are_refused() {
    let front = Front::start().await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let with = |name, value| [upgrade[0], upgrade[1], (name, value)];
    let answered = request(&front, &failing(), &[]).await;
    assert_eq!(answered.status(), StatusCode::BAD_REQUEST);
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status["message"], "Upgrade request required");
    assert_eq!(status["reason"], "BadRequest");

    let answered = request(&front, &failing(), &upgrade).await;
    assert_eq!(answered.status(), StatusCode::BAD_REQUEST);

    let unknown = with("x-stream-protocol-version", "v9.channel.k8s.io");
    let answered = request(&front, &failing(), &unknown).await;
    assert_eq!(answered.status(), StatusCode::FORBIDDEN);
    let accepted: Vec<&HeaderValue> = answered
        .headers()
        .get_all("x-accepted-stream-protocol-versions")
        .iter()
        .collect();
    assert_eq!(
        accepted,
        [
            "v4.channel.k8s.io",
            "v3.channel.k8s.io",
            "v2.channel.k8s.io",
            "channel.k8s.io"
        ]
    );

    let nothing = with("x-stream-protocol-version", "v4.channel.k8s.io");
    let answered = request(&front, "/exec?container=app&command=ls", &nothing).await;
    assert_eq!(answered.status(), StatusCode::BAD_REQUEST);

    let answered = request(&front, "/exec?stdout=true&command=ls", &nothing).await;
    assert_eq!(answered.status(), StatusCode::BAD_REQUEST);
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        status["message"],
        "a container name must be specified for pod web-0, choose one of: [app shell]"
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_command() {
    let front = Front::start().await;
    for (leave, file) in [(true, "/tmp/left"), (false, "/tmp/dropped")] {
        let endless = format!("echo x > {file}; echo up; while true; do echo x >> {file}; done");
        let path = script(&["stdin", "stdout"], &endless);
        let mut socket = websocket(&front, &path, "v5.channel.k8s.io").await.unwrap();
        let mut shown = Vec::new();
        while shown != b"up\n" {
            shown.extend(binary(socket.next().await.unwrap().unwrap()).1);
        }
        if leave {
            socket.close(None).await.unwrap();
            // The other side answers with its own close, or just ends.
            while let Some(Ok(_)) = socket.next().await {}
        } else {
            drop(socket);
        }
        assert!(stands_still(&front, file).await > 0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_command() {
    let front = Front::start().await;
    let path = script(&["stdout"], "yes | tee /tmp/count");
    let mut socket = websocket(&front, &path, "v5.channel.k8s.io").await.unwrap();
    // Every buffer on the way is full by then.
    let stood = stands_still(&front, "/tmp/count").await;
    assert!(stood < 64 * 1024 * 1024, "{stood}");
    let mut read = 0;
    while read <= stood {
        read += socket.next().await.unwrap().unwrap().len() as u64;
    }
}
