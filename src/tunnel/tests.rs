//! The pool over in-memory streams: a far side that speaks TLS and HTTP, and is told how to
//! behave.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Empty, Full};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::{Access, Connect, Credentials, FarSide, Io, Opener, Pool, TunnelError};
use crate::error::{Code, Error};
use crate::proxy::LocalCertificate;
use crate::relay::{DialError, Rendezvous};
use crate::secret::Secret;

/// How the far side behaves, and what it saw.
struct Far {
    tls: Arc<ServerConfig>,
    streams: u32,
    bridge: bool,
    /// Dials of generations below this one are refused as stale.
    valid_from: u64,
    /// Whether dials find nobody.
    away: AtomicBool,
    dials: AtomicUsize,
    /// How many requests are held until they are released.
    holding: AtomicUsize,
    release: Notify,
}

#[derive(Debug)]
struct FakeConnect(Arc<Far>);

#[derive(Debug)]
struct FakeCredentials {
    far_side: Arc<FarSide>,
    generation: AtomicU64,
    renewals: AtomicUsize,
}

impl std::fmt::Debug for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Far").finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for FakeConnect {
    async fn connect(&self, rendezvous: &Rendezvous) -> Result<Box<dyn Io>, DialError> {
        self.0.dials.fetch_add(1, Ordering::Relaxed);
        if self.0.away.load(Ordering::Relaxed) {
            return Err(DialError::Deadline(rendezvous.host.clone()));
        }
        if rendezvous.path.parse::<u64>().expect("the generation") < self.0.valid_from {
            return Err(DialError::Refused {
                host: rendezvous.host.clone(),
                status: StatusCode::NOT_FOUND,
                reason: "Endpoint does not exist.".to_owned(),
            });
        }
        let (near, far) = duplex(64 << 10);
        tokio::spawn(serve(self.0.clone(), far));
        Ok(Box::new(near))
    }
}

#[async_trait]
impl Credentials for FakeCredentials {
    fn current(&self) -> Access {
        let generation = self.generation.load(Ordering::Relaxed);
        Access {
            rendezvous: Rendezvous {
                host: "relay.example".to_owned(),
                port: 443,
                path: generation.to_string(),
                token: Secret::from("t"),
            },
            far_side: self.far_side.clone(),
            generation,
        }
    }

    async fn renew(&self, generation: u64) -> Result<Access, Error> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        self.generation.store(generation + 1, Ordering::Relaxed);
        Ok(self.current())
    }
}

async fn serve(far: Arc<Far>, mut stream: DuplexStream) {
    if far.bridge {
        let mut start = [0; 3];
        stream.read_exact(&mut start).await.expect("a start");
        let wanted = start == [1, 0, 0];
        if wanted {
            let length = stream.read_u8().await.expect("a length");
            let mut port = vec![0; usize::from(length)];
            stream.read_exact(&mut port).await.expect("a port");
            assert_eq!(port, b"443");
        }
        let answer = if wanted { [1, 0, 0] } else { [0, 0, 0] };
        stream.write_all(&answer).await.expect("answers");
        if !wanted {
            return;
        }
    }
    let tls = TlsAcceptor::from(far.tls.clone())
        .accept(stream)
        .await
        .expect("a handshake");
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let limit = far.streams;
    let service = service_fn(move |request| {
        let far = far.clone();
        async move { Ok::<_, Infallible>(answer(&far, request).await) }
    });
    // A connection that the pool drops ends with an error here, which is how it should be.
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(limit);
        let _ended = builder.serve_connection(TokioIo::new(tls), service).await;
    } else {
        let builder = http1::Builder::new();
        let _ended = builder
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades()
            .await;
    }
}

/// A body without an end.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = Bytes::from_static(&[0; 16 << 10]);
        std::task::Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

async fn answer(
    far: &Far,
    mut request: Request<Incoming>,
) -> Response<Either<Full<Bytes>, Endless>> {
    match request.uri().path() {
        "/endless" => return Response::new(Either::Right(Endless)),
        "/held" => {
            let released = far.release.notified();
            far.holding.fetch_add(1, Ordering::Relaxed);
            released.await;
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut text = String::new();
                stream
                    .read_to_string(&mut text)
                    .await
                    .expect("reads to the half-close");
                stream
                    .write_all(text.to_uppercase().as_bytes())
                    .await
                    .expect("answers");
                stream.shutdown().await.expect("shuts down");
            });
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(
                header::CONNECTION,
                http::HeaderValue::from_static("upgrade"),
            );
            response
                .headers_mut()
                .insert(header::UPGRADE, http::HeaderValue::from_static("test"));
            return response;
        }
        _ => {}
    }
    let host = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .or_else(|| {
            Some(
                request
                    .headers()
                    .get(header::HOST)?
                    .to_str()
                    .ok()?
                    .to_owned(),
            )
        });
    let text = format!("{:?} {}", request.version(), host.unwrap_or_default());
    Response::new(Either::Left(Full::from(text)))
}

struct World {
    far: Arc<Far>,
    credentials: Arc<FakeCredentials>,
    pool: Arc<Pool<Empty<Bytes>>>,
}

fn world(alpn: &[&str], change: impl FnOnce(&mut Far)) -> World {
    let certificate = LocalCertificate::generate().expect("a certificate");
    let mut tls = (*certificate.config).clone();
    tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut far = Far {
        tls: Arc::new(tls),
        streams: 100,
        bridge: false,
        valid_from: 0,
        away: AtomicBool::new(false),
        dials: AtomicUsize::new(0),
        holding: AtomicUsize::new(0),
        release: Notify::new(),
    };
    change(&mut far);
    let far = Arc::new(far);
    let pem = certificate.authority_pem.as_bytes();
    let far_side = FarSide::new("https://kube-aad-proxy", Some("localhost"), Some(pem));
    let credentials = Arc::new(FakeCredentials {
        far_side: Arc::new(far_side.expect("a far side")),
        generation: AtomicU64::new(0),
        renewals: AtomicUsize::new(0),
    });
    let opener = Opener::new(Arc::new(FakeConnect(far.clone())), credentials.clone());
    World {
        far,
        credentials,
        pool: Arc::new(Pool::new(opener)),
    }
}

impl World {
    fn dials(&self) -> usize {
        self.far.dials.load(Ordering::Relaxed)
    }

    async fn get(&self, path: &str) -> Result<String, TunnelError> {
        let request = Request::get(path).body(Empty::new()).expect("a request");
        let body = self.pool.request(request).await?.into_body();
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).expect("text"))
    }
}

const BOTH: [&str; 2] = ["h2", "http/1.1"];

#[tokio::test]
async fn all_requests_share_one_http2_tunnel() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let requests = (0..50).map(|_| world.get("/"));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.expect("an answer"), "HTTP/2.0 kube-aad-proxy");
    }
    assert_eq!((world.dials(), world.pool.lanes()), (1, 1));
}

#[tokio::test]
async fn requests_that_wait_for_the_first_tunnel_share_its_dial() {
    let world = world(&BOTH, |_| {});
    futures_util::future::try_join_all((0..20).map(|_| world.get("/")))
        .await
        .expect("answers");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn beyond_the_peers_stream_limit_another_tunnel_opens() {
    let world = world(&BOTH, |far| far.streams = 2);
    world.get("/").await.expect("the peer's settings are known");
    let held = futures_util::future::try_join_all((0..2).map(|_| world.get("/held")));
    let free = async {
        while world.far.holding.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        // The held streams fill the first tunnel; this one must not queue behind them.
        let answer = world.get("/").await;
        world.far.release.notify_waiters();
        answer
    };
    let (held, free) = tokio::join!(held, free);
    assert_eq!(free.expect("an answer"), "HTTP/2.0 kube-aad-proxy");
    assert_eq!(held.expect("answers").len(), 2);
    assert_eq!((world.dials(), world.pool.lanes()), (2, 2));
}

#[tokio::test]
async fn without_http2_tunnels_are_kept_and_used_again() {
    let world = world(&["http/1.1"], |_| {});
    world.pool.warm().await.expect("warms");
    for _ in 0..10 {
        assert_eq!(
            world.get("/").await.expect("an answer"),
            "HTTP/1.1 kube-aad-proxy"
        );
    }
    assert!(
        world.dials() <= 3,
        "{} dials for sequential requests",
        world.dials()
    );
}

#[tokio::test]
async fn a_bridge_is_recognised_and_remembered() {
    let world = world(&BOTH, |far| far.bridge = true);
    assert_eq!(
        world.get("/").await.expect("an answer"),
        "HTTP/2.0 kube-aad-proxy"
    );
    assert_eq!(world.dials(), 2, "one to find out, one to talk");
    let request = Request::get("/").body(Empty::new()).expect("a request");
    world.pool.upgrade(request).await.expect("an answer");
    assert_eq!(world.dials(), 3, "the dialect is remembered");
}

#[tokio::test]
async fn stale_credentials_are_renewed_once() {
    let world = world(&BOTH, |far| far.valid_from = 1);
    world.get("/").await.expect("an answer");
    assert_eq!(
        (
            world.dials(),
            world.credentials.renewals.load(Ordering::Relaxed)
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_refusal_that_renewal_does_not_mend_is_told() {
    let world = world(&BOTH, |far| far.valid_from = 9);
    let error = world.get("/").await.expect_err("refused");
    assert_eq!(error.explain("edge").code(), Code::RelayRefused);
    assert_eq!(world.dials(), 2);
}

#[tokio::test]
async fn closing_ends_the_tunnels_in_order() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let world = world(alpn, |_| {});
        world.get("/").await.expect("an answer");
        let started = tokio::time::Instant::now();
        world.pool.close(Duration::from_secs(20)).await;
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "a tunnel did not end by itself"
        );
        assert_eq!(world.pool.lanes(), 0);
    }
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let mut world = world(&BOTH, |_| {});
    let other = LocalCertificate::generate()
        .expect("a certificate")
        .authority_pem;
    let far_side = FarSide::new(
        "https://kube-aad-proxy",
        Some("localhost"),
        Some(other.as_bytes()),
    );
    let credentials = Arc::new(FakeCredentials {
        far_side: Arc::new(far_side.expect("a far side")),
        generation: AtomicU64::new(0),
        renewals: AtomicUsize::new(0),
    });
    world.pool = Arc::new(Pool::new(Opener::new(
        Arc::new(FakeConnect(world.far.clone())),
        credentials,
    )));
    // The far side's own handshake fails too; its panic stays in its task.
    let error = world.pool.warm().await.expect_err("untrusted");
    assert_eq!(error.explain("edge").code(), Code::ProxyCertificate);
}

#[tokio::test]
async fn an_upgrade_keeps_its_half_close() {
    let world = world(&BOTH, |_| {});
    let request = Request::get("/upgrade")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "test")
        .body(Empty::new())
        .expect("a request");
    let response = world.pool.upgrade(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("a stream"));
    stream.write_all(b"half").await.expect("writes");
    stream.shutdown().await.expect("shuts down");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("reads");
    assert_eq!(text, "HALF");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_gives_its_stream_back() {
    let world = world(&BOTH, |far| far.streams = 1);
    for _ in 0..5 {
        let request = Request::get("/").body(Empty::new()).expect("a request");
        drop(world.pool.request(request).await.expect("an answer"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        world.dials() <= 2,
        "{} dials for streams that ended",
        world.dials()
    );
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it comes about");
}

impl World {
    /// A request whose answer is read beyond the size that counts as bulk, and no further.
    async fn bulk(&self) -> super::PooledBody {
        let request = Request::get("/endless").body(Empty::new());
        let request = request.expect("a request");
        let mut body = self.pool.request(request).await.expect("bulk").into_body();
        let mut read = 0;
        while read <= 1 << 20 {
            let frame = body.frame().await.expect("more").expect("whole");
            read += frame.into_data().expect("data").len();
        }
        body
    }

    async fn upgrade(&self) -> Response<Incoming> {
        let request = Request::get("/upgrade")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "test")
            .body(Empty::new())
            .expect("a request");
        self.pool.upgrade(request).await.expect("an answer")
    }
}

#[tokio::test]
async fn a_tunnel_waits_for_the_next_upgrade() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    until(|| world.dials() == 2).await;
    until(|| world.pool.has_spare()).await;
    let mut upgraded = Vec::new();
    for taken in 1..4 {
        assert_eq!(world.dials(), 1 + taken);
        let response = world.upgrade().await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        upgraded.push(response);
        // The one that was taken is replaced.
        until(|| world.dials() == 2 + taken && world.pool.has_spare()).await;
    }
    keeping.abort();
    assert_eq!(world.pool.lanes(), 1);
}

#[tokio::test]
async fn small_requests_leave_a_tunnel_that_a_bulk_body_fills() {
    let world = world(&BOTH, |_| {});
    let bulk = world.bulk().await;
    assert_eq!(world.pool.lanes(), 1);
    for _ in 0..3 {
        world.get("/").await.expect("an answer");
    }
    assert_eq!(world.dials(), 2, "one tunnel beside the bulk body's");
    drop(bulk);
    // The first tunnel is like any other again: two bulk bodies, and there is a third.
    let _bulk = (world.bulk().await, world.bulk().await);
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 3);
}

#[tokio::test]
async fn while_no_other_tunnel_opens_small_requests_share_the_bulk_bodys() {
    let world = world(&BOTH, |_| {});
    let _bulk = world.bulk().await;
    world.far.away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        world.get("/").await.expect("an answer");
    }
    assert_eq!(
        world.dials(),
        2,
        "what has just failed is not tried each time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_not_needed_any_more_ends() {
    let world = world(&BOTH, |_| {});
    let bulk = world.bulk().await;
    world.get("/").await.expect("an answer");
    assert_eq!(world.pool.lanes(), 2);
    drop(bulk);
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    let started = tokio::time::Instant::now();
    while world.pool.lanes() > 1 {
        assert!(started.elapsed() < Duration::from_mins(10), "it stays");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.get("/").await.expect("an answer");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn without_http2_watches_leave_room_for_requests() {
    let world = world(&["http/1.1"], |_| {});
    world.pool.warm().await.expect("warms");
    // More bodies that do not end than there is room for at first.
    let mut watches = Vec::new();
    for _ in 0..80 {
        let request = Request::get("/endless").body(Empty::new());
        let request = request.expect("a request");
        watches.push(world.pool.request(request).await.expect("an answer"));
    }
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 81);
}
