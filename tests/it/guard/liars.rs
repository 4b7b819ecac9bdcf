//! Servers on the network that are not, or do not say, what they should: in the place of Entra,
//! of ARM and of the relay.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_emulator::tls::{Authority, provider};
use futures_util::FutureExt as _;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::far::{FarSide, Stream};
use super::wire::{Local, read_all, read_head};
use crate::harness::{Ran, World};

pub(super) const RUN: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];
/// Who is lied for.
const PLACES: [Place; 3] = [Place::Entra, Place::Arm, Place::Relay];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Entra,
    Arm,
    Relay,
}

impl Place {
    /// The exit code of what fails there.
    fn code(self) -> i32 {
        match self {
            Self::Entra => 3,
            Self::Arm => 4,
            Self::Relay => 5,
        }
    }

    /// A cloud in which `port` is this place's, and everything else is the emulator's.
    fn at(self, world: &World, port: u16) -> PathBuf {
        world.cloud_with(|cloud| match self {
            Self::Entra => cloud["authority"] = format!("https://localhost:{port}").into(),
            Self::Arm => cloud["resourceManager"] = format!("https://localhost:{port}").into(),
            Self::Relay => cloud["relaySuffix"] = format!("servicebus.localhost:{port}").into(),
        })
    }
}

/// Kinds of TLS records (RFC 8446, section 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

pub(super) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server, gone when this is dropped.
pub(super) struct Liar {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Liar {
    /// One that does with each connection what `serve` says; it notes what it hears there.
    pub(super) async fn start(
        serve: impl Fn(TcpStream, Heard) -> Serving + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let hearing = heard.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(tcp, hearing.clone()));
            }
        });
        Self {
            address,
            heard,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// One that shakes hands with `tls` and then notes everything.
    async fn listening(tls: ServerConfig) -> Self {
        let tls = TlsAcceptor::from(Arc::new(tls));
        Self::start(move |tcp, heard| {
            let accepting = tls.accept(tcp);
            Box::pin(async move {
                if let Ok(mut stream) = accepting.await {
                    let words = read_all(&mut stream).await;
                    heard.lock().unwrap().extend(words.into_bytes());
                }
            })
        })
        .await
    }

    /// One with the emulator's certificate, which says `words` to each request, and `again` for as
    /// long as somebody takes it.
    async fn saying(world: &World, words: Vec<u8>, again: &'static str) -> Self {
        let names = ["localhost", "*.servicebus.localhost"];
        let tls = world
            .emulator
            .authority()
            .server_config(&names, &["http/1.1"]);
        let tls = TlsAcceptor::from(Arc::new(tls.unwrap()));
        Self::start(move |tcp, heard| {
            let (accepting, words) = (tls.accept(tcp), words.clone());
            Box::pin(async move {
                let Ok(mut stream): std::io::Result<Stream> = accepting.await else {
                    return;
                };
                let Some(head) = read_head(&mut stream).await else {
                    return;
                };
                heard.lock().unwrap().extend(head.into_bytes());
                let again = again.repeat(1_000);
                let _ = stream.write_all(&words).await;
                while !again.is_empty() && stream.write_all(again.as_bytes()).await.is_ok() {}
                let _ = stream.flush().await;
                // Whoever spoke goes first.
                read_all(&mut stream).await;
            })
        })
        .await
    }

    pub(super) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }

    /// Runs arcproxy where this is in the place of `place`. Gives what it said, and the most
    /// memory that it was seen to have, in MiB.
    pub(super) async fn run(&self, world: &World, place: Place) -> (Ran, u64) {
        self.run_with(world, place, &RUN).await
    }

    async fn run_with(&self, world: &World, place: Place, arguments: &[&str]) -> (Ran, u64) {
        let cloud = place.at(world, self.address.port());
        let mut command = world.arcproxy(arguments);
        command.env("ARCPROXY_CLOUD", cloud);
        watched(command).await
    }
}

/// Runs `command`. Gives what it said, and the most memory that it was seen to have, in MiB.
pub(super) async fn watched(mut command: Command) -> (Ran, u64) {
    let running = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", running.id().unwrap());
    let mut ending = std::pin::pin!(running.wait_with_output());
    let mut looking = tokio::time::interval(Duration::from_millis(20));
    let mut most = 0;
    let output = loop {
        tokio::select! {
            output = &mut ending => break output.unwrap(),
            _ = looking.tick() => most = most.max(peak(&status)),
        }
    };
    (Ran::from(output), most)
}

pub(super) type Heard = Arc<Mutex<Vec<u8>>>;

/// The most resident memory so far, in MiB; 0 where the process has ended.
fn peak(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn self_signed() -> ServerConfig {
    let names = ["localhost".to_owned(), "*.servicebus.localhost".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key.into())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_server_that_is_another() {
    let world = World::new().await;
    let stranger = Authority::new("arc-emulator").unwrap();
    let own = world.emulator.authority();
    let right = ["localhost", "*.servicebus.localhost"];
    for place in PLACES {
        for (what, tls) in [
            (
                "another authority",
                stranger.server_config(&right, &[]).unwrap(),
            ),
            (
                "another name",
                own.server_config(&["other.example"], &[]).unwrap(),
            ),
            ("its own authority", self_signed()),
        ] {
            let liar = Liar::listening(tls).await;
            let (ran, _) = liar.run(&world, place).await;
            ran.failed(place.code(), &["cannot establish TLS with"]);
            assert_eq!(liar.heard(), "", "{place:?}: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_below_tls_1_2() {
    // A ServerHello of TLS 1.1 with a cipher suite of its time.
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    let no_tls = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let world = World::new().await;
    for place in PLACES {
        for answer in [&hello, &no_tls] {
            let answer = answer.clone();
            let liar = Liar::start(move |mut tcp, heard| {
                let answer = answer.clone();
                Box::pin(async move {
                    let mut said = vec![0; 5];
                    if tcp.read_exact(&mut said).await.is_err() {
                        return;
                    }
                    if said[0] == HANDSHAKE {
                        let length = u16::from_be_bytes([said[3], said[4]]);
                        let mut hello = vec![0; length.into()];
                        tcp.read_exact(&mut hello).await.unwrap();
                        said.clear();
                    }
                    let _ = tcp.write_all(&answer).await;
                    let _ = tcp.read_to_end(&mut said).await;
                    heard.lock().unwrap().extend(said);
                })
            })
            .await;
            let (ran, _) = liar.run(&world, place).await;
            ran.failed(place.code(), &["cannot establish TLS with"]);
            // An alert is all that is said, on each connection.
            let heard = liar.heard.lock().unwrap().clone();
            let is_alert = |record: &[u8]| record.len() == 7 && record[0] == ALERT;
            assert!(heard.chunks(7).all(is_alert), "{place:?}: {heard:?}");
        }
    }
    for (field, url) in [
        ("authority", "http://localhost:1"),
        ("resourceManager", "http://localhost:1"),
    ] {
        let cloud = world.cloud_with(|cloud| cloud[field] = url.into());
        let mut command = world.arcproxy(&RUN);
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
        ran.failed(2, &["https"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed() {
    let world = World::new().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    for place in PLACES {
        for (status, scheme) in [
            (301, "https"),
            (302, "https"),
            (307, "http"),
            (308, "https"),
        ] {
            let words = format!(
                "HTTP/1.1 {status} Moved\r\nLocation: {scheme}://localhost:{port}/x\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let liar = Liar::saying(&world, words.into_bytes(), "").await;
            let (ran, _) = liar.run(&world, place).await;
            ran.failed(place.code(), &[]);
            assert!(!liar.heard().is_empty(), "{place:?}: it was asked");
            let came = elsewhere.accept().now_or_never();
            assert!(came.is_none(), "{place:?}: {status} was followed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_page_elsewhere_is_not_asked_for() {
    let world = World::new().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let page = format!("{{\"value\":[],\"nextLink\":\"https://localhost:{port}/subscriptions\"}}");
    let words = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let liar = Liar::saying(&world, words.into_bytes(), "").await;
    let arguments = [&["--subscription", "No Such Name"], &RUN[..]].concat();
    let (ran, _) = liar.run_with(&world, Place::Arm, &arguments).await;
    ran.failed(4, &["names a next page elsewhere"]);
    let asked = liar.heard().to_ascii_lowercase();
    assert!(
        asked.contains("authorization: bearer "),
        "it has a token to lose"
    );
    assert!(elsewhere.accept().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_entras_without_an_end_is_read_so_far_and_no_further() {
    answers_without_an_end(Place::Entra).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_arms_without_an_end_is_read_so_far_and_no_further() {
    answers_without_an_end(Place::Arm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_relays_without_an_end_is_read_so_far_and_no_further() {
    answers_without_an_end(Place::Relay).await;
}

async fn answers_without_an_end(place: Place) {
    let world = World::new().await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, words, again) in [
        (
            "a header",
            "HTTP/1.1 200 OK\r\nX: ",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
        (
            "headers",
            "HTTP/1.1 200 OK\r\n",
            "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        ),
        (
            "a body",
            chunked,
            "28\r\nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        ),
        (
            "a refusal",
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
    ] {
        let liar = Liar::saying(&world, words.as_bytes().to_vec(), again).await;
        let (ran, most) = liar.run(&world, place).await;
        ran.failed(place.code(), &[]);
        assert!(most < 96, "{place:?}: {what} took {most} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_stays_so() {
    let world = World::new().await;
    // Half a GiB of zeros.
    let script = "head -c 536870912 /dev/zero | gzip";
    let packed = world
        .command("sh")
        .args(["-c", script])
        .output()
        .await
        .unwrap();
    let packed = packed.stdout;
    assert!(packed.len() > 1_000 && packed.len() < 1 << 20);
    let mut words = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
         Content-Length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    words.extend(packed);
    for place in [Place::Entra, Place::Arm] {
        let liar = Liar::saying(&world, words.clone(), "").await;
        let (ran, most) = liar.run(&world, place).await;
        ran.failed(place.code(), &[]);
        assert!(most < 96, "{place:?} took {most} MiB");
        let asked = liar.heard().to_ascii_lowercase();
        assert!(!asked.contains("accept-encoding"), "{asked}");
    }
    // What goes through is passed on as it is, and asked for by the client alone.
    let far = FarSide::saying(&world, words.clone()).await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    let mut stream = local.tls("http/1.1").await;
    let request = local.request("GET /api", "Connection: close\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap().to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await.unwrap();
    assert!(words.ends_with(&body) && body.len() > 1_000, "it differs");
    let asked = far.heard()[0].to_ascii_lowercase();
    assert!(!asked.contains("accept-encoding"), "{asked}");
    let cost = proxy.resident().saturating_sub(before);
    assert!(cost < 64, "it cost {cost} MiB");
}
