//! The far side: it speaks TLS and HTTP over in-memory streams, and is told how to behave.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::raw::{self, Script};
use crate::error::Error;
use crate::relay::{DialError, Rendezvous};
use crate::secret::Secret;
use crate::tunnel::{Access, Connect, Credentials, FarSide, Io};

/// How long it takes to answer `/later`.
pub(super) const LATER: Duration = Duration::from_mins(5);
/// What `/bytes` gives.
pub(super) const BYTES: usize = 12 << 20;

/// How the far side behaves, and what it saw.
pub(super) struct Far {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) streams: u32,
    pub(super) bridge: bool,
    /// Dials of generations below this one are refused as stale.
    pub(super) valid_from: u64,
    /// Whether dials find nobody,
    pub(super) away: AtomicBool,
    /// or take for ever.
    pub(super) lost: AtomicBool,
    /// How long they take otherwise, seconds.
    pub(super) late: AtomicU64,
    pub(super) dials: AtomicUsize,
    /// How many bytes of endless bodies have gone out.
    pub(super) sent: Arc<AtomicUsize>,
    /// How many requests are held until they are released.
    pub(super) holding: AtomicUsize,
    pub(super) release: Notify,
    /// Cuts HTTP/2 tunnels.
    pub(super) cut: CancellationToken,
    /// Up to which dial nothing comes back any more.
    pub(super) silent: watch::Sender<usize>,
    /// How many bytes come back in a second,
    pub(super) rate: u32,
    /// and how many go there.
    pub(super) uplink: u32,
    /// The most bytes that have come there at once.
    pub(super) most: AtomicUsize,
    /// How long the far side takes to say anything.
    pub(super) lag: Duration,
    /// How many requests have been acted upon.
    pub(super) requests: AtomicUsize,
    /// What the next HTTP/2 connections do in place of serving.
    pub(super) scripts: Mutex<VecDeque<Script>>,
}

#[derive(Debug)]
pub(super) struct FakeConnect(pub(super) Arc<Far>);

#[derive(Debug)]
pub(super) struct FakeCredentials {
    pub(super) far_side: Arc<FarSide>,
    pub(super) generation: AtomicU64,
    pub(super) renewals: AtomicUsize,
}

impl std::fmt::Debug for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Far").finish_non_exhaustive()
    }
}

#[async_trait]
impl Connect for FakeConnect {
    async fn connect(&self, rendezvous: &Rendezvous) -> Result<Box<dyn Io>, DialError> {
        let dial = self.0.dials.fetch_add(1, Ordering::Relaxed) + 1;
        if self.0.lost.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        sleep(Duration::from_secs(self.0.late.load(Ordering::Relaxed))).await;
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
        let (near, middle) = duplex(64 << 10);
        let (other, far) = duplex(64 << 10);
        tokio::spawn(serve(self.0.clone(), far));
        let (from_near, to_near) = tokio::io::split(middle);
        let (from_far, to_far) = tokio::io::split(other);
        tokio::spawn(pass(self.0.clone(), from_near, to_far));
        tokio::spawn(pass_back(self.0.clone(), dial, from_far, to_near));
        Ok(Box::new(near))
    }
}

async fn pass(far: Arc<Far>, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        far.most.fetch_max(count, Ordering::Relaxed);
        linger(Duration::ZERO, count, far.uplink).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
}

/// As long as so many bytes take on a link that is late and slow.
async fn linger(lag: Duration, count: usize, rate: u32) {
    let size = u32::try_from(count).expect("a buffer's");
    let late = lag + Duration::from_secs(1) * size / rate;
    if late >= Duration::from_millis(1) {
        sleep(late).await;
    }
}

/// As the link of that dial has it: silent, slow or late.
async fn pass_back(
    far: Arc<Far>,
    dial: usize,
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
) {
    let mut silent = far.silent.subscribe();
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        linger(far.lag, count, far.rate).await;
        let speaking = silent.wait_for(|silent| dial > *silent).await.is_ok();
        if !speaking || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
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

    async fn renew(self: Arc<Self>, generation: u64) -> Result<Access, Error> {
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
    let script = far.scripts.lock().expect("whole").pop_front();
    if let Some(script) = script {
        return raw::play(script, tls).await;
    }
    let limit = far.streams;
    let cut = far.cut.clone();
    let service = service_fn(move |request| {
        let far = far.clone();
        async move { Ok::<_, Infallible>(answer(&far, request).await) }
    });
    // A connection that the pool drops ends with an error here, which is how it should be.
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(limit);
        tokio::select! {
            _ended = builder.serve_connection(TokioIo::new(tls), service) => {}
            () = cut.cancelled() => {}
        }
    } else {
        let builder = http1::Builder::new();
        let _ended = builder
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades()
            .await;
    }
}

/// A body without an end, and how much of it was taken.
#[derive(Default)]
pub(super) struct Endless(Arc<AtomicUsize>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = Bytes::from_static(&[0; 16 << 10]);
        self.0.fetch_add(data.len(), Ordering::Relaxed);
        std::task::Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

async fn answer(
    far: &Far,
    mut request: Request<Incoming>,
) -> Response<Either<Full<Bytes>, Endless>> {
    far.requests.fetch_add(1, Ordering::Relaxed);
    match request.uri().path() {
        "/echo" => {
            let body = request.body_mut().collect().await.expect("all of it");
            return Response::new(Either::Left(Full::new(body.to_bytes())));
        }
        "/later" => sleep(LATER).await,
        "/bytes" => return Response::new(Either::Left(Full::from(vec![0; BYTES]))),
        "/endless" => return Response::new(Either::Right(Endless(far.sent.clone()))),
        "/sink" => while let Some(Ok(_)) = request.body_mut().frame().await {},
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
