//! What the relay says no to, to the letter.

use crate::harness::{LISTENER, NAMESPACE, PATH, Stage};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The status line, less what names the request, which is checked here.
fn status_line(head: &str, id: &str, path: &str) -> String {
    let line = head.lines().next().unwrap();
    let (text, tracking) = line.split_once(" TrackingId:").unwrap();
    let (tracking_id, rest) = tracking.split_once(", SystemTracker:").unwrap();
    let gateway = tracking_id.strip_prefix(id).unwrap();
    let gateway = gateway.strip_prefix("_G").unwrap();
    assert!(gateway.parse::<u8>().unwrap() < 16);
    let (system, time) = rest.split_once(", Timestamp:").unwrap();
    assert_eq!(system, format!("sb://{NAMESPACE}.localhost/{path}"));
    assert_eq!(time.len(), "2021-06-05T06:08:21".len(), "{time}");
    text.to_owned()
}

async fn refusal(stage: &Stage, path: &str, action: &str, token: Option<&str>) -> String {
    let id = "bf9b2fba-df27-4652-81c1-945589f00f1c";
    let token = token.map_or(String::new(), |token| {
        format!("ServiceBusAuthorization: {token}\r\n")
    });
    let head = stage
        .raw(&format!(
            "GET /$hc/{path}?sb-hc-action={action}&sb-hc-id={id} HTTP/1.1\r\n\
             Host: {NAMESPACE}.localhost:443\r\n{UPGRADE}{token}\r\n"
        ))
        .await;
    status_line(&head, id, path)
}

#[tokio::test]
async fn senders_are_refused_in_the_relays_words() {
    let stage = Stage::new().await;
    let good = stage.sender_token();
    let connect = |path, token| refusal(&stage, path, "connect", token);
    assert_eq!(
        connect("elsewhere", Some(&good)).await,
        "HTTP/1.1 404 Endpoint does not exist."
    );
    assert_eq!(
        connect(PATH, Some(&good)).await,
        "HTTP/1.1 404 There are no listeners connected for the endpoint."
    );
    assert_eq!(
        connect(PATH, None).await,
        "HTTP/1.1 401 MissingToken: Relay security token is required."
    );
    assert_eq!(
        connect(PATH, Some("Bearer token")).await,
        "HTTP/1.1 401 MalformedToken: The token is malformed."
    );
    let forged = good.replace("&se=", "&se=9");
    assert_eq!(
        connect(PATH, Some(&forged)).await,
        "HTTP/1.1 401 InvalidSignature: The token has an invalid signature."
    );
    let old = stage.relay.sender_token(NAMESPACE, PATH, 1_622_873_289);
    assert_eq!(
        connect(PATH, Some(&old)).await,
        "HTTP/1.1 401 ExpiredToken: The token is expired. Expiration time: '2021-06-05T06:08:09'."
    );
    let other = stage.relay.sender_token(NAMESPACE, "other", stage.later());
    assert_eq!(
        connect(PATH, Some(&other)).await,
        "HTTP/1.1 403 InvalidAudience: The authorization header contains a token with a wrong \
         audience."
    );
    let listeners = stage.relay.listener_token(NAMESPACE, PATH, stage.later());
    assert_eq!(
        connect(PATH, Some(&listeners)).await,
        format!(
            "HTTP/1.1 403 Unauthorized access. 'Send' claim(s) are required to perform this \
             operation. Resource: 'sb://{NAMESPACE}.localhost/{PATH}'."
        )
    );
    let seen = stage.relay.seen();
    assert_eq!((seen.dials, seen.refused, seen.tunnels_total), (8, 8, 0));
}

#[tokio::test]
async fn listeners_are_refused_in_the_relays_words() {
    let stage = Stage::new().await;
    let listen = |path, token| refusal(&stage, path, "listen", token);
    let another = stage.listener_token();
    assert_eq!(
        listen("elsewhere", Some(&another)).await,
        "HTTP/1.1 403 InvalidAudience: The authorization header contains a token with a wrong \
         audience."
    );
    let elsewhere = stage
        .relay
        .listener_token(NAMESPACE, "elsewhere", stage.later());
    assert_eq!(
        listen("elsewhere", Some(&elsewhere)).await,
        "HTTP/1.1 404 Endpoint does not exist."
    );
    let senders = stage.relay.sender_token(NAMESPACE, LISTENER, stage.later());
    assert!(
        listen(LISTENER, Some(&senders))
            .await
            .starts_with("HTTP/1.1 403 Unauthorized access. 'Listen' claim(s) are required")
    );
    assert_eq!(
        refusal(&stage, LISTENER, "accept", None).await,
        "HTTP/1.1 403 The rendezvous URL is not valid."
    );
}

#[tokio::test]
async fn what_is_no_upgrade_is_a_bad_request() {
    let stage = Stage::new().await;
    let host = format!("Host: {NAMESPACE}.localhost\r\n");
    let plain = format!("GET /$hc/{PATH}?sb-hc-action=connect HTTP/1.1\r\n{host}\r\n");
    let head = stage.raw(&plain).await;
    assert!(
        head.starts_with("HTTP/1.1 400 A WebSocket upgrade is required. TrackingId:"),
        "{head}"
    );
    let no_action = format!("GET /$hc/{PATH} HTTP/1.1\r\n{host}{UPGRADE}\r\n");
    let head = stage.raw(&no_action).await;
    assert!(
        head.starts_with("HTTP/1.1 400 The sb-hc-action is missing."),
        "{head}"
    );
    let root = stage.raw(&format!("GET / HTTP/1.1\r\n{host}\r\n")).await;
    assert!(
        root.starts_with("HTTP/1.1 404 Endpoint does not exist."),
        "{root}"
    );
}

#[tokio::test]
async fn the_golden_request_is_understood() {
    let stage = Stage::new().await;
    let golden = include_str!("../../../fixtures/relay-upgrade-request.txt").replace('\n', "\r\n");
    let (namespace, listener) = (
        "azgnrelay-eastus-l1",
        "microsoft.kubernetes/connectedclusters/\
         229dc73f7b07196c79a93d4362d9c7fc4ed34df3e95290d27c56cec2dbb82865",
    );
    let path = format!("{listener}/1631185383340987904");
    let head = stage.raw(&golden).await;
    assert!(
        head.starts_with(
            "HTTP/1.1 404 Endpoint does not exist. \
             TrackingId:4cb542c3-047a-4d40-a19f-bdc66441e736_G"
        ),
        "{head}"
    );
    stage.relay.create(namespace, &path, listener);
    let head = stage.raw(&golden).await;
    assert!(
        head.starts_with("HTTP/1.1 401 InvalidSignature: "),
        "{head}"
    );
    // With a token of this relay's own it opens a tunnel.
    let token = stage.relay.sender_token(namespace, &path, stage.later());
    let (before, _) = golden.split_once("SharedAccessSignature").unwrap();
    let golden = format!("{before}{token}\r\n\r\n");
    let listening = stage.url(listener, "listen").replace(NAMESPACE, namespace);
    let token = stage
        .relay
        .listener_token(namespace, listener, stage.later());
    let mut control = stage.open(&listening, Some(&token)).await.unwrap();
    let (head, _listener) = tokio::join!(stage.raw(&golden), stage.meet(&mut control));
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
}
