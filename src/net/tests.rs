//! Hosts that go silent, one step after the other: each step has a deadline and words of its own.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{Https, Net, Trust, WebProxies, provider};
use crate::clock::Clock;
use crate::secret::Secret;

/// TLS settings of a server for `localhost`, and a client that trusts it.
fn server() -> (TlsAcceptor, Trust) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(certificate.pem().as_bytes())
        .expect("writes");
    let trust = Trust::system([file.path()]).expect("a bundle");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
        })
        .expect("settings");
    (TlsAcceptor::from(Arc::new(config)), trust)
}

/// What a request to `port` ends with, and after how many seconds.
async fn fails(net: Net, port: u16) -> (String, u64) {
    let https = Https::new(net, Clock::fixed(0)).expect("a client");
    let request = Request::get(format!("https://localhost:{port}/")).body(Bytes::new());
    let started = Instant::now();
    let answer = https.send(request.expect("a request")).await;
    let error = answer.expect_err("no answer").to_string();
    (error, started.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_answered() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let (_, trust) = server();
    let told = format!("localhost:{port} did not answer in time for the TLS handshake");
    assert_eq!(fails(Net::new(trust), port).await, (told, 10));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (acceptor, trust) = server();
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("it comes");
        let mut stream = acceptor.accept(tcp).await.expect("it trusts");
        let mut read = Vec::new();
        // Until the client gives up.
        let _ = stream.read_to_end(&mut read).await;
        read
    });
    let told = format!("localhost:{port} did not answer in time");
    assert_eq!(fails(Net::new(trust), port).await, (told, 60));
    let read = serving.await.expect("it ends");
    assert!(read.starts_with(b"GET / HTTP/1.1\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_web_proxy_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = silent.local_addr().expect("an address");
    let (_, trust) = server();
    let given = Secret::from(format!("http://{proxy}"));
    let proxies = WebProxies::read(Some(&given), |_| None).expect("a proxy");
    let net = Net::through(proxies, trust);
    let tls = net.tls(&[]).expect("settings");
    let started = Instant::now();
    let error = net.connect(&tls, "2001:db8::1", 443).await;
    let told = format!(
        "web proxy http://{proxy} (from --proxy) did not answer in time for [2001:db8::1]:443"
    );
    assert_eq!(error.expect_err("silence").to_string(), told);
    assert_eq!(started.elapsed().as_secs(), 20);
}
