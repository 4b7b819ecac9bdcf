//! The listener's side of the protocol, with a listener written here.

use std::time::Duration;

use arc_emulator::relay::Limits;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::{
    ID, LISTENER, NAMESPACE, PATH, Stage, accept, close_code, receive, refused_with, send,
};

#[tokio::test]
async fn a_listener_is_told_all_that_it_needs() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let url = stage
        .url(&format!("{PATH}/suffix"), "connect")
        .replace('?', "?color=blue&");
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert(
        "ServiceBusAuthorization",
        stage.sender_token().parse().unwrap(),
    );
    headers.insert(
        "Sec-WebSocket-Protocol",
        "tunnel.v1, other".parse().unwrap(),
    );
    headers.insert("X-Trace", "1234".parse().unwrap());
    let key = headers["sec-websocket-key"].to_str().unwrap().to_owned();
    let tls = stage.connect().await;
    let dialling = tokio_tungstenite::client_async(request, tls);
    let meeting = async {
        let accept = accept(&mut control).await;
        let accept = &accept["accept"];
        assert_eq!(accept["id"], ID);
        let headers = &accept["connectHeaders"];
        assert_eq!(headers["Sec-WebSocket-Key"], *key);
        assert_eq!(headers["Sec-WebSocket-Version"], "13");
        assert_eq!(headers["Sec-WebSocket-Protocol"], "tunnel.v1, other");
        assert_eq!(headers["X-Trace"], "1234");
        assert_eq!(headers["Connection"], "Upgrade");
        let port = stage.relay.address().port();
        assert_eq!(headers["Host"], format!("{NAMESPACE}.localhost:{port}"));
        assert!(headers.get("Servicebusauthorization").is_none());
        let address = accept["address"].as_str().unwrap();
        let expected = format!(
            "wss://{NAMESPACE}.localhost:{port}/$hc/{PATH}/suffix?color=blue&sb-hc-action=accept\
             &sb-hc-id={ID}_G"
        );
        assert!(address.starts_with(&expected), "{address}");
        stage.open(address, None).await.unwrap()
    };
    let (dialled, mut listener) = tokio::join!(dialling, meeting);
    let (mut sender, response) = dialled.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "tunnel.v1");
    send(&mut sender, &b"hello"[..]).await;
    assert_eq!(receive(&mut listener, 5).await, b"hello");
}

#[tokio::test]
async fn a_listener_may_refuse_a_sender() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let refusing = async {
        let accept = accept(&mut control).await;
        let address = accept["accept"]["address"].as_str().unwrap();
        let refusal = "&sb-hc-statusCode=503&sb-hc-statusDescription=No%20room%20today.";
        let refused = stage.open(&format!("{address}{refusal}"), None).await;
        assert_eq!(refused_with(refused), 410);
    };
    let path = format!("/$hc/{PATH}?sb-hc-action=connect&sb-hc-id={ID}");
    let token = stage.sender_token();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {NAMESPACE}.localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nServiceBusAuthorization: {token}\r\n\r\n"
    );
    let (head, ()) = tokio::join!(stage.raw(&request), refusing);
    let expected = format!("HTTP/1.1 503 No room today. TrackingId:{ID}_G");
    assert!(head.starts_with(&expected), "{head}");
}

#[tokio::test]
async fn a_listener_that_does_not_come_is_a_timeout() {
    let limits = Limits {
        rendezvous: Duration::from_millis(100),
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let mut control = stage.listen().await;
    let (dialled, accept) = tokio::join!(stage.dial(), accept(&mut control));
    assert_eq!(refused_with(dialled), 504);
    // It is too late now.
    let address = accept["accept"]["address"].as_str().unwrap();
    assert_eq!(refused_with(stage.open(address, None).await), 403);
}

#[tokio::test]
async fn a_rendezvous_address_works_once() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let meeting = async {
        let accept = accept(&mut control).await;
        let address = accept["accept"]["address"].as_str().unwrap().to_owned();
        let first = stage.open(&address, None).await.unwrap();
        (first, stage.open(&address, None).await)
    };
    let (sender, (mut first, second)) = tokio::join!(stage.dial(), meeting);
    assert_eq!(refused_with(second), 403);
    let mut sender = sender.unwrap();
    send(&mut sender, &b"once"[..]).await;
    assert_eq!(receive(&mut first, 4).await, b"once");
}

#[tokio::test]
async fn a_sender_that_leaves_can_not_be_met() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let accept = tokio::select! {
        _ = stage.dial() => panic!("nobody met the sender"),
        accept = accept(&mut control) => accept,
    };
    let address = accept["accept"]["address"].as_str().unwrap();
    match stage.open(address, None).await {
        Err(error) => assert_eq!(refused_with(Err(error)), 403),
        // The relay had not noticed yet; the listener hears at once.
        Ok(mut socket) => assert_eq!(close_code(&mut socket).await, 1001),
    }
}

#[tokio::test]
async fn senders_are_spread_over_listeners() {
    let stage = Stage::new().await;
    let mut controls = [stage.listen().await, stage.listen().await];
    assert_eq!(stage.relay.seen().listeners, 2);
    let [one, two] = &mut controls;
    let (first, second, _a, _b) =
        tokio::join!(stage.dial(), stage.dial(), stage.meet(one), stage.meet(two),);
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test]
async fn a_renewed_token_keeps_the_control_channel() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let now = stage.faults.cloud_time();
    let token = stage
        .relay
        .listener_token(NAMESPACE, LISTENER, now + 2 * 3600);
    let renew = json!({"renewToken": {"token": token}}).to_string();
    control.send(Message::text(renew)).await.unwrap();
    stage.seen(|seen| seen.renewals == 1).await;
    stage
        .faults
        .update(|faults| faults.clock_offset_seconds = 3600 + 60);
    // The first token has ended, the second has not.
    let (sender, _listener) = tokio::join!(stage.dial(), stage.meet(&mut control));
    assert!(sender.is_ok());
    stage
        .faults
        .update(|faults| faults.clock_offset_seconds = 2 * 3600 + 60);
    assert_eq!(close_code(&mut control).await, 1008);
    stage.seen(|seen| seen.listeners == 0).await;
}

#[tokio::test]
async fn a_bad_token_ends_the_control_channel() {
    let stage = Stage::new().await;
    let mut control = stage.listen().await;
    let renew = json!({"renewToken": {"token": stage.sender_token()}}).to_string();
    control.send(Message::text(renew)).await.unwrap();
    assert_eq!(close_code(&mut control).await, 1008);
    assert!(control.next().await.is_none());
}
