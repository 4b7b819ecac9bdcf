//! Everything from the relay to a tiny apiserver, and clients that reach it with TLS inside.

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
pub(crate) struct Vectors(pub(crate) Value);

impl Vectors {
    pub(crate) fn new() -> Self {
        Self(serde_json::from_str(include_str!("../../../fixtures/pop.json")).unwrap())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    /// A proof for `claims` as of `ts`, signed with the vectors' key.
    pub(crate) fn proof(&self, claims: &Value, ts: u64) -> String {
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

    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": 4_102_444_800_u64, "oid": "b0b", "groups": ["g1"],
            "upn": "ana@contoso.com", "cnf": {"kid": self.text("thumbprint")},
        })
    }
}

pub(crate) fn jws(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
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
pub(crate) struct Setup {
    pub(crate) no_h2: bool,
    pub(crate) no_http1: bool,
    pub(crate) apiserver: &'static [&'static str],
}

pub(crate) const BOTH: Setup = Setup {
    no_h2: false,
    no_http1: false,
    apiserver: &["h2", "http/1.1"],
};

/// Everything from the relay to a tiny apiserver.
pub(crate) struct Cluster {
    pub(crate) stage: Stage,
    ca: Arc<Authority>,
    pub(crate) proxy: AadProxy,
    pub(crate) vectors: Vectors,
    _agent: Agent,
    pub(crate) apiserver: Service,
}

impl Cluster {
    pub(crate) async fn new(setup: Setup) -> Self {
        let stage = Stage::new().await;
        stage.faults.update(|faults| {
            faults.no_h2 = setup.no_h2;
            faults.no_http1 = setup.no_http1;
        });
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
            upstream: Upstream {
                url: format!("https://{}/", apiserver.address()).parse().unwrap(),
                tls: kubernetes.client_config(&[]).unwrap(),
                authorization: Some("Bearer proxy".to_owned()),
                handler: None,
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
    pub(crate) async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<DuplexStream>> {
        let socket = self.stage.dial().await.unwrap();
        let (near, far) = tokio::io::duplex(256 << 10);
        tokio::spawn(pump(socket, far));
        let tls = TlsConnector::from(Arc::new(self.ca.client_config(alpn).unwrap()));
        let name = ServerName::try_from("kube-aad-proxy").unwrap();
        tls.connect(name, near).await
    }

    pub(crate) async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let tls = self.connect(&["h2", "http/1.1"]).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let tls = self.connect(&["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    pub(crate) fn proof(&self) -> String {
        let now = self.stage.faults.cloud_time();
        self.vectors.proof(&self.vectors.claims(), now)
    }

    pub(crate) fn request(path: &str, token: &str) -> Request<Full<Bytes>> {
        Request::post(format!("https://kube-aad-proxy{path}"))
            .header(header::HOST, "kube-aad-proxy")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from_static(b"body")))
            .unwrap()
    }

    /// The status of `request` and its JSON answer.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let response = self.http2().await.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The message with which `token` is refused.
    pub(crate) async fn refusal(&self, token: &str) -> String {
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
