//! Speaking bytes to the listener: what no well-behaved client would say.

use std::io;
use std::sync::Arc;

use arc_emulator::tls::provider;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{DEADLINE, Proxy, World};

/// A listener, as its kubeconfig tells of it.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) port: u16,
    /// `/proxies/<hash>`.
    pub(super) path: String,
    pub(super) token: String,
    authority: Vec<u8>,
}

/// An answer over HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Local {
    /// The one in the kubeconfig of `world`.
    pub(super) fn of(world: &World) -> Self {
        Self::in_text(&std::fs::read_to_string(world.kubeconfig()).unwrap())
    }

    pub(super) fn in_text(kubeconfig: &str) -> Self {
        let field = |name: &str| {
            let (_, rest) = kubeconfig.split_once(name).unwrap();
            rest.lines().next().unwrap().trim().trim_matches('"')
        };
        let server = url::Url::parse(field("server: ")).unwrap();
        Self {
            port: server.port().unwrap(),
            path: server.path().to_owned(),
            token: field("token: ").to_owned(),
            authority: BASE64_STANDARD
                .decode(field("certificate-authority-data: "))
                .unwrap(),
        }
    }

    pub(super) async fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// A TLS connection on which `alpn` is spoken.
    pub(super) async fn tls(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.try_tls(alpn).await.unwrap()
    }

    pub(super) async fn try_tls(&self, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.authority).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// A request of this listener's user, with `headers` of its own, each with its line's end.
    pub(super) fn request(&self, line: &str, headers: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            self.port, self.token
        )
    }

    /// Says `bytes` on a connection of their own and reads all that is answered.
    pub(super) async fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.tls("http/1.1").await;
        // What is refused need not be read to its end.
        let _ = stream.write_all(bytes.as_ref()).await;
        let _ = stream.flush().await;
        read_all(&mut stream).await
    }

    /// Says `bytes`, a request that asks to close the connection, and reads the answer.
    pub(super) async fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let text = self.say(bytes).await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Sends a request over HTTP/2, whose URI has the authority that is told; gives the answer's status
    /// and body.
    pub(super) async fn ask_h2(&self, request: Request<Empty<Bytes>>) -> (u16, String) {
        let io = TokioIo::new(self.tls("h2").await);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let exchange = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (
                head.status.as_u16(),
                String::from_utf8(body.to_vec()).unwrap(),
            )
        };
        timeout(DEADLINE, exchange).await.expect("it ends in time")
    }

    /// Whether its user is served, on a new connection.
    pub(super) async fn serves(&self) -> bool {
        let request = self.request(
            &format!("GET {}/version", self.path),
            "Connection: close\r\n",
        );
        self.ask(request).await.status == 200
    }
}

/// Everything that comes, up to the end or to where the connection breaks.
pub(super) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = async { while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {} };
    timeout(DEADLINE, reading).await.expect("it ends in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A message's head, the empty line included; none where the stream ends before.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

impl Proxy {
    /// Resident memory, in MiB.
    pub(super) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib >> 10
    }
}

/// What begins an HTTP/2 connection.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// An HTTP/2 frame (RFC 9113, section 4.1).
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The next frame; none at the end of the connection.
pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// A literal field, not indexed and not compressed (RFC 7541, section 6.2.2).
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            bytes.push(u8::try_from(rest).unwrap());
        } else {
            bytes.push(127);
            rest -= 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The fields of a GET to the listener, with a token or without.
pub(super) fn get(local: &Local, path: &str, token: Option<&str>) -> Vec<u8> {
    let mut fields = [
        field(":method", "GET"),
        field(":scheme", "https"),
        field(":path", path),
        field(":authority", &format!("127.0.0.1:{}", local.port)),
    ]
    .concat();
    if let Some(token) = token {
        fields.extend(field("authorization", &format!("Bearer {token}")));
    }
    fields
}

/// Begins HTTP/2 as a client does.
pub(super) async fn begin(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    stream.flush().await
}
