//! kube-aad-proxy, reached as a client reaches it: over the relay and the agent, with TLS inside.
//!
//! Long, because everything that may stand in a token has its verdict here, beside the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_emulator::aad_proxy::{AadProxy, AadProxyConfig, AccessTokenKeys, Upstream};
use arc_emulator::agent::{Agent, Dialect};
use arc_emulator::http::{Body, empty, full};
use arc_emulator::serve::Service;
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use aws_lc_rs::{rand, rsa, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Socket, Stage};

const ISSUER: &str = "https://sts.windows.net/00000000-0000-0000-0000-000000000001/";
const AUDIENCE: &str = "6256c85f-0aad-4d50-b960-e6e9b21efe35";

/// What the tests know from the vectors: a key and the cluster's id.
struct Vectors(Value);

impl Vectors {
    fn new() -> Self {
        Self(serde_json::from_str(include_str!("../../../fixtures/pop.json")).unwrap())
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    /// A proof for `claims` as of `ts`, signed with the vectors' key.
    fn proof(&self, claims: &Value, ts: u64) -> String {
        let access_token = jws(&json!({"alg": "RS256", "kid": "entra"}), claims, |_| {
            b"signed by entra".to_vec()
        });
        let (n, e) = (self.text("n"), self.text("e"));
        let kid = self.text("thumbprint");
        let der = PrivateKeyDer::from_pem_slice(self.text("key_pkcs8_pem").as_bytes()).unwrap();
        let key = rsa::KeyPair::from_pkcs8(der.secret_der()).unwrap();
        jws(
            &json!({"typ": "pop", "alg": "RS256", "kid": kid}),
            &json!({
                "at": access_token, "ts": ts, "u": self.text("host"), "nonce": "00",
                "cnf": {"jwk": {"kty": "RSA", "n": n, "e": e, "alg": "RS256", "kid": kid}},
            }),
            |input| {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &rand::SystemRandom::new(),
                    input,
                    &mut signature,
                )
                .unwrap();
                signature
            },
        )
    }

    fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": 4_102_444_800_u64, "oid": "b0b", "groups": ["g1"],
            "upn": "ana@contoso.com", "cnf": {"kid": self.text("thumbprint")},
        })
    }
}

fn jws(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// Keys that take one signature.
#[derive(Debug)]
struct EntraKeys;

impl AccessTokenKeys for EntraKeys {
    fn verify(&self, kid: &str, _: &[u8], signature: &[u8]) -> bool {
        kid == "entra" && signature == b"signed by entra"
    }
}

/// How the parts are set up.
#[derive(Clone, Copy)]
struct Setup {
    offer_h2: bool,
    offer_http1: bool,
    apiserver: &'static [&'static str],
}

const BOTH: Setup = Setup {
    offer_h2: true,
    offer_http1: true,
    apiserver: &["h2", "http/1.1"],
};

/// Everything from the relay to a tiny apiserver.
struct Cluster {
    stage: Stage,
    ca: Arc<Authority>,
    proxy: AadProxy,
    vectors: Vectors,
    _agent: Agent,
    apiserver: Service,
}

impl Cluster {
    async fn new(setup: Setup) -> Self {
        let stage = Stage::new().await;
        let vectors = Vectors::new();
        let kubernetes = Authority::new("kubernetes").unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let tls = kubernetes.server_config(&["127.0.0.1"], setup.apiserver);
        let apiserver = Service::start(any, tls.unwrap(), Shaper::default(), apiserver)
            .await
            .unwrap();
        let ca = Arc::new(Authority::new("ca").unwrap());
        let proxy = AadProxy::start(AadProxyConfig {
            authority: Arc::clone(&ca),
            cluster_id: vectors.text("host").to_owned(),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            keys: Arc::new(EntraKeys),
            offer_h2: setup.offer_h2,
            offer_http1: setup.offer_http1,
            upstream: Upstream {
                url: format!("https://{}/", apiserver.address()).parse().unwrap(),
                tls: kubernetes.client_config(&[]).unwrap(),
                authorization: Some("Bearer proxy".to_owned()),
            },
            faults: stage.faults.clone(),
        })
        .await
        .unwrap();
        let agent = crate::agent::start(&stage, Dialect::Raw, proxy.address()).await;
        Self {
            stage,
            ca,
            proxy,
            vectors,
            _agent: agent,
            apiserver,
        }
    }

    /// A TLS connection to kube-aad-proxy through a tunnel.
    async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<DuplexStream>> {
        let socket = self.stage.dial().await.unwrap();
        let (near, far) = tokio::io::duplex(256 << 10);
        tokio::spawn(pump(socket, far));
        let tls = TlsConnector::from(Arc::new(self.ca.client_config(alpn).unwrap()));
        let name = ServerName::try_from("kube-aad-proxy").unwrap();
        tls.connect(name, near).await
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let tls = self.connect(&["h2", "http/1.1"]).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let tls = self.connect(&["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    fn proof(&self) -> String {
        let now = self.stage.faults.cloud_time();
        self.vectors.proof(&self.vectors.claims(), now)
    }

    fn request(path: &str, token: &str) -> Request<Full<Bytes>> {
        Request::post(format!("https://kube-aad-proxy{path}"))
            .header(header::HOST, "kube-aad-proxy")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from_static(b"body")))
            .unwrap()
    }

    /// The status of `request` and its JSON answer.
    async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let response = self.http2().await.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The message with which `token` is refused.
    async fn refusal(&self, token: &str) -> String {
        let (status, answer) = self.ask(Self::request("/api", token)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer["kind"], "Status");
        assert_eq!(answer["apiVersion"], "v1");
        assert_eq!(answer["reason"], "Unauthorized");
        assert_eq!(answer["code"], 401);
        answer["message"].as_str().unwrap().to_owned()
    }
}

/// Copies between a tunnel and a pipe until either ends.
async fn pump(socket: Socket, pipe: DuplexStream) {
    let (mut to_relay, mut from_relay) = socket.split();
    let (mut from_client, mut to_client) = tokio::io::split(pipe);
    let inward = async {
        while let Some(Ok(message)) = from_relay.next().await {
            if let Message::Binary(bytes) = message
                && to_client.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
        let _ = to_client.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let bytes = Bytes::copy_from_slice(&buffer[..read]);
            if to_relay.send(Message::Binary(bytes)).await.is_err() {
                break;
            }
        }
        // No close: the other way may go on. What ended was said in the TLS inside.
    };
    tokio::join!(inward, outward);
}

/// A tiny apiserver, which tells what it was asked.
async fn apiserver(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/stream" => {
            let (mut send, body) = Channel::<Bytes, arc_emulator::http::BodyError>::new(1);
            let mut body_in = request.into_body();
            tokio::spawn(async move {
                // Each part of the request is answered before the next comes.
                while let Some(Ok(frame)) = body_in.frame().await {
                    if let Ok(data) = frame.into_data()
                        && send.send_data(data).await.is_err()
                    {
                        return;
                    }
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", HeaderValue::from_static("42"));
                let _ = send.send(Frame::trailers(trailers)).await;
            });
            let mut response = Response::new(body.boxed_unsync());
            let trailer = HeaderValue::from_static("x-checksum");
            response.headers_mut().insert(header::TRAILER, trailer);
            response
        }
        "/exec" => {
            let upgrading = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrading.await.unwrap());
                let mut all = Vec::new();
                stream.write_all(b"ready").await.unwrap();
                // Everything up to the half-close goes back, then the end.
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            let protocol = request.headers()[header::UPGRADE].clone();
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, protocol);
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            response
        }
        _ => {
            let version = format!("{:?}", request.version());
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: Vec<_> = parts
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            let answer = json!({
                "method": parts.method.as_str(), "path": parts.uri.path(), "version": version,
                "headers": headers, "body": String::from_utf8_lossy(&body),
            });
            Response::new(full(answer.to_string()))
        }
    }
}

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
        offer_h2: false,
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
        offer_http1: false,
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
