//! kube-aad-proxy, reached as a client reaches it: over the relay and the agent, with TLS inside.
//!
//! Long, because everything that may stand in a token has its verdict here, beside the others.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::{BOTH, Cluster, Setup, jws};

/// The apiserver's view of the headers that start with `prefix`, in order.
fn headers<'a>(answer: &'a Value, prefix: &str) -> Vec<&'a str> {
    let all = answer["headers"].as_array().unwrap().iter();
    let mut headers: Vec<_> = all
        .map(|header| header.as_str().unwrap())
        .filter(|header| header.starts_with(prefix))
        .collect();
    headers.sort_unstable();
    headers
}

#[tokio::test]
async fn an_entra_caller_is_impersonated_over_http2() {
    let cluster = Cluster::new(BOTH).await;
    let (status, answer) = cluster
        .ask(Cluster::request("/api/v1/pods", &cluster.proof()))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["path"], "/api/v1/pods");
    assert_eq!(answer["method"], "POST");
    assert_eq!(answer["version"], "HTTP/2.0");
    assert_eq!(answer["body"], "body");
    assert_eq!(
        headers(&answer, "impersonate-"),
        [
            "impersonate-extra-oid: b0b",
            "impersonate-group: g1",
            "impersonate-group: system:authenticated",
            "impersonate-user: ana@contoso.com",
        ]
    );
    assert_eq!(
        headers(&answer, "authorization"),
        ["authorization: Bearer proxy"]
    );
    let seen = cluster.proxy.seen();
    assert_eq!((seen.requests, seen.refused, seen.pop_tokens), (1, 0, 1));
    assert_eq!((seen.h2_connections, seen.h1_connections), (1, 0));
}

#[tokio::test]
async fn many_requests_share_a_connection_and_a_proof() {
    let cluster = Cluster::new(BOTH).await;
    let sender = cluster.http2().await;
    let proof = cluster.proof();
    let requests = (0..50).map(|n| {
        let mut sender = sender.clone();
        let request = Cluster::request(&format!("/api/{n}"), &proof);
        async move {
            let response = sender.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["path"], format!("/api/{n}"));
        }
    });
    futures_util::future::join_all(requests).await;
    let seen = cluster.proxy.seen();
    assert_eq!((seen.requests, seen.pop_tokens), (50, 1));
    assert_eq!(seen.h2_connections, 1);
}

#[tokio::test]
async fn an_http1_client_and_an_http1_apiserver_do_as_well() {
    let setup = Setup {
        no_h2: true,
        apiserver: &["http/1.1"],
        ..BOTH
    };
    let cluster = Cluster::new(setup).await;
    let tls = cluster.connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut sender = cluster.http1().await;
    let proof = cluster.proof();
    for _ in 0..3 {
        sender.ready().await.unwrap();
        let response = sender
            .send_request(Cluster::request("/api", &proof))
            .await
            .unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["version"], "HTTP/1.1");
        assert_eq!(answer["body"], "body");
    }
}

#[tokio::test]
async fn http1_can_be_left_out() {
    let setup = Setup {
        no_http1: true,
        ..BOTH
    };
    let cluster = Cluster::new(setup).await;
    let error = cluster.connect(&["http/1.1"]).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol")
            || error.to_string().contains("no application protocol"),
        "{error}"
    );
    drop(cluster.http2().await);
}

#[tokio::test]
async fn bodies_stream_both_ways_and_trailers_pass() {
    let cluster = Cluster::new(BOTH).await;
    let tls = cluster.connect(&["h2"]).await.unwrap();
    let (mut sender, connection) =
        http2::handshake::<_, _, Channel<Bytes>>(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (mut send, body) = Channel::<Bytes>::new(1);
    let request = Cluster::request("/stream", &cluster.proof()).map(|_| body);
    let mut response = sender.send_request(request).await.unwrap();
    for part in ["one", "two", "three"] {
        send.send_data(Bytes::from(part)).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    drop(send);
    let rest = response.into_body().collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x-checksum"], "42");
    assert!(rest.to_bytes().is_empty());
}

#[tokio::test]
async fn more_watches_than_one_connection_to_the_apiserver_carries() {
    let cluster = Cluster::new(BOTH).await;
    let tls = cluster.connect(&["h2"]).await.unwrap();
    let (sender, connection) =
        http2::handshake::<_, _, Channel<Bytes>>(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    let proof = cluster.proof();
    let mut open = Vec::new();
    // hyper's servers allow 200 streams on a connection.
    for _ in 0..220 {
        let (mut send, body) = Channel::<Bytes>::new(1);
        let request = Cluster::request("/stream", &proof).map(|_| body);
        let mut response = sender.clone().send_request(request).await.unwrap();
        send.send_data(Bytes::from_static(b"event")).await.unwrap();
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "event");
        open.push((send, response));
    }
    assert_eq!(cluster.proxy.seen().h2_connections, 1);
}

#[tokio::test]
async fn an_upgrade_passes_with_half_close() {
    let cluster = Cluster::new(BOTH).await;
    for protocol in ["SPDY/3.1", "websocket"] {
        let mut request = Cluster::request("/exec", &cluster.proof());
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol.parse().unwrap());
        *request.body_mut() = Full::default();
        *request.uri_mut() = "/exec".parse().unwrap();
        let mut sender = cluster.http1().await;
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[header::UPGRADE], protocol);
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let mut stream = TokioIo::new(upgraded);
        let mut ready = [0; 5];
        stream.read_exact(&mut ready).await.unwrap();
        assert_eq!(&ready, b"ready");
        stream.write_all(b"all that there is").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"all that there is");
    }
    assert_eq!(cluster.proxy.seen().upgrades, 2);
}

#[tokio::test]
async fn a_service_account_token_passes_through() {
    let cluster = Cluster::new(BOTH).await;
    let issuer = json!({"iss": "https://kubernetes.default.svc.cluster.local", "sub": "sa"});
    let token = jws(&json!({"alg": "RS256"}), &issuer, |_| b"sig".to_vec());
    let mut request = Cluster::request("/api", &token);
    let as_user = HeaderValue::from_static("system:admin");
    request.headers_mut().insert("impersonate-user", as_user);
    let (status, answer) = cluster.ask(request).await;
    assert_eq!(status, StatusCode::OK);
    let expected = format!("authorization: Bearer {token}");
    assert_eq!(headers(&answer, "authorization"), [expected]);
    assert_eq!(
        headers(&answer, "impersonate-"),
        ["impersonate-user: system:admin"]
    );
    assert_eq!(cluster.proxy.seen().passed_through, 1);
}

#[tokio::test]
async fn callers_are_refused_in_guards_words() {
    let cluster = Cluster::new(BOTH).await;
    let vectors = &cluster.vectors;
    let now = cluster.stage.faults.cloud_time();
    for case in vectors.0["cases"].as_array().unwrap() {
        let verdict = case["verdict"].as_str().unwrap();
        let message = cluster.refusal(case["token"].as_str().unwrap()).await;
        // The keys of this test do not know the vectors' access token.
        let expected = if verdict == "ok" {
            "failed to verify token for azure: failed to verify signature"
        } else {
            verdict
        };
        let expected = format!("Error:{expected}");
        assert!(
            message.starts_with(&expected),
            "{}: {message}",
            case["case"]
        );
    }
    let old = vectors.proof(&vectors.claims(), now - 15 * 60 - 5);
    let message = cluster.refusal(&old).await;
    assert!(
        message.starts_with("Error:Token is expired. Now: "),
        "{message}"
    );
    let mut claims = vectors.claims();
    claims["_claim_names"] = json!({"groups": "src1"});
    let message = cluster.refusal(&vectors.proof(&claims, now)).await;
    assert_eq!(
        message,
        "Error:Error while retrieving group info. Error:Overage claim (users with more than 200 \
         group membership) is currently not supported."
    );
    let mut request = Cluster::request("/api", "");
    request.headers_mut().remove(header::AUTHORIZATION);
    let (status, answer) = cluster.ask(request).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["message"], "Unauthorized");
}

#[tokio::test]
async fn an_accepted_proof_ends_when_it_ends() {
    let cluster = Cluster::new(BOTH).await;
    let proof = cluster.proof();
    let faults = &cluster.stage.faults;
    let (status, _) = cluster.ask(Cluster::request("/api", &proof)).await;
    assert_eq!(status, StatusCode::OK);
    faults.update(|faults| faults.group_overage = true);
    let message = cluster.refusal(&proof).await;
    assert!(message.contains("Overage claim"), "{message}");
    faults.update(|faults| faults.group_overage = false);
    faults.update(|faults| faults.clock_offset_seconds = 14 * 60);
    let (status, _) = cluster.ask(Cluster::request("/api", &proof)).await;
    assert_eq!(status, StatusCode::OK);
    faults.update(|faults| faults.clock_offset_seconds = 15 * 60 + 10);
    // The agent's token ends in an hour; the tunnel still opens.
    let message = cluster.refusal(&proof).await;
    assert!(message.starts_with("Error:Token is expired"), "{message}");
}

#[tokio::test]
async fn an_apiserver_that_is_not_there_is_a_502() {
    let cluster = Cluster::new(BOTH).await;
    cluster.apiserver.stop().await;
    let (status, answer) = cluster
        .ask(Cluster::request("/api", &cluster.proof()))
        .await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer["kind"], "Status");
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with("the apiserver did not answer: "),
        "{message}"
    );
}
