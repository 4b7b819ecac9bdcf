//! The HTTP connections of one cluster.
//!
//! Over HTTP/2 all requests share one tunnel; a further one is opened only when the peer's stream
//! limit is reached, since excess streams would queue unseen behind watches that never end. Over
//! HTTP/1.1 each request has a tunnel of its own, of which a bounded number is kept; further
//! requests queue, because redialling costs five round trips. An upgrade always has a tunnel of
//! its own.
//!
//! What has not been sent is sent again on another tunnel; what may have been sent is not.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::body::{Place, PooledBody};
use super::open::{Opened, Purpose};
use super::{FarSide, Opener, TunnelError};

/// One stream's throughput is about 0.7 × window / round trip.
const STREAM_WINDOW: u32 = 8 << 20;
/// Far larger than a stream's: with both equal, one unread stream stops all others.
const CONNECTION_WINDOW: u32 = 256 << 20;
/// Larger than any header list an apiserver takes.
const HEADER_LIST: u32 = 1 << 20;
/// Pings go end to end and notice an agent that is gone though the relay is not.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/1.1 tunnels, watches included.
const HTTP1_TUNNELS: usize = 256;
/// How long a request that has sent nothing waits for a tunnel.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first and the longest pause between dials.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often an unsent request is moved to another tunnel.
const MOVES: usize = 3;

/// The tunnels of one cluster, carrying requests with bodies of type `B`.
pub struct Pool<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    opener: Opener,
    /// Held while a tunnel for requests is being opened, so that one opens for all who wait.
    opening: tokio::sync::Mutex<()>,
    dials: Mutex<Dials>,
    lanes: Mutex<Vec<Lane<B>>>,
    idle: Mutex<Vec<Idle<B>>>,
    /// One permit for each HTTP/1.1 tunnel in use.
    http1_tunnels: Arc<Semaphore>,
    /// Set once the far side has turned HTTP/2 down.
    http1_only: AtomicBool,
}

/// How many dials have ended, and how the last one failed.
#[derive(Debug, Default)]
struct Dials {
    ended: usize,
    failure: Option<TunnelError>,
}

/// An HTTP/2 tunnel.
struct Lane<B> {
    sender: http2::SendRequest<B>,
    streams: Arc<AtomicUsize>,
    /// The peer's stream limit, as its settings last had it.
    limit: Arc<AtomicUsize>,
    far_side: Arc<FarSide>,
}

/// An HTTP/1.1 tunnel that waits for a request.
struct Idle<B> {
    sender: http1::SendRequest<B>,
    far_side: Arc<FarSide>,
}

/// An HTTP/1.1 tunnel in use.
struct Http1<B> {
    idle: Idle<B>,
    _permit: OwnedSemaphorePermit,
}

/// What a request goes out on.
enum Tunnel<B> {
    Http2(http2::SendRequest<B>, Stream, Arc<FarSide>),
    Http1(Http1<B>),
}

impl<B> Pool<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A pool of the streams that `opener` opens.
    pub fn new(opener: Opener) -> Self {
        Self {
            inner: Arc::new(Inner {
                opener,
                opening: tokio::sync::Mutex::default(),
                dials: Mutex::default(),
                lanes: Mutex::default(),
                idle: Mutex::default(),
                http1_tunnels: Arc::new(Semaphore::new(HTTP1_TUNNELS)),
                http1_only: AtomicBool::new(false),
            }),
        }
    }

    /// Opens the first tunnel, trying once.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn warm(&self) -> Result<(), TunnelError> {
        let tunnel = self.inner.tunnel_once().await?;
        self.inner.clone().give_back(tunnel);
        Ok(())
    }

    /// Sends `request`; the answer's body streams. The request's path and headers go as they are,
    /// its host becomes the far side's.
    ///
    /// Cancel safe: dropping the future resets the stream.
    ///
    /// # Errors
    /// There is no tunnel, or it broke before the answer.
    pub async fn request(
        &self,
        mut request: Request<B>,
    ) -> Result<Response<PooledBody>, TunnelError> {
        for _ in 0..MOVES {
            let tunnel = self.inner.tunnel().await?;
            request = match self.inner.clone().send(tunnel, request).await? {
                Sent::Answered(response) => return Ok(response),
                Sent::Unsent(request) => request,
            };
        }
        let tunnel = self.inner.tunnel().await?;
        match self.inner.clone().send(tunnel, request).await? {
            Sent::Answered(response) => Ok(response),
            Sent::Unsent(_) => Err(TunnelError::Deadline("a tunnel that takes requests")),
        }
    }

    /// Sends `request`, which asks for an upgrade, on a tunnel of its own. `hyper::upgrade::on`
    /// the answer gives the stream when its status is 101.
    ///
    /// # Errors
    /// There is no tunnel, or it broke before the answer.
    pub async fn upgrade(
        &self,
        mut request: Request<B>,
    ) -> Result<Response<Incoming>, TunnelError> {
        let opened = self
            .inner
            .patiently(|| self.inner.opener.open(Purpose::Upgrade))
            .await?;
        let (mut sender, connection) = http1_builder()
            .handshake(TokioIo::new(opened.stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upgrade tunnel ended");
            }
        });
        for_http1(&mut request, &opened.far_side);
        Ok(sender.send_request(request).await?)
    }

    /// How many HTTP/2 tunnels are open.
    pub fn lanes(&self) -> usize {
        lock(&self.inner.lanes)
            .iter()
            .filter(|lane| !lane.sender.is_closed())
            .count()
    }
}

enum Sent<B> {
    Answered(Response<PooledBody>),
    Unsent(Request<B>),
}

impl<B> Inner<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn send(
        self: Arc<Self>,
        tunnel: Tunnel<B>,
        mut request: Request<B>,
    ) -> Result<Sent<B>, TunnelError> {
        match tunnel {
            Tunnel::Http2(mut sender, stream, far_side) => {
                for_http2(&mut request, &far_side);
                match sender.try_send_request(request).await {
                    Ok(response) => Ok(Sent::Answered(
                        response.map(|body| PooledBody::new(body, Box::new(stream))),
                    )),
                    Err(mut error) => match error.take_message() {
                        Some(request) => Ok(Sent::Unsent(request)),
                        None => Err(error.into_error().into()),
                    },
                }
            }
            Tunnel::Http1(mut http1) => {
                for_http1(&mut request, &http1.idle.far_side);
                match http1.idle.sender.try_send_request(request).await {
                    Ok(response) => {
                        let (parts, body) = response.into_parts();
                        let place = Checkout {
                            http1: Some(http1),
                            pool: self,
                        };
                        Ok(Sent::Answered(Response::from_parts(
                            parts,
                            PooledBody::new(body, Box::new(place)),
                        )))
                    }
                    Err(mut error) => match error.take_message() {
                        Some(request) => Ok(Sent::Unsent(request)),
                        None => Err(error.into_error().into()),
                    },
                }
            }
        }
    }

    /// A tunnel for a request, waiting for one as long as patience lasts.
    async fn tunnel(&self) -> Result<Tunnel<B>, TunnelError> {
        self.patiently(|| self.tunnel_once()).await
    }

    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, TunnelError>
    where
        F: Future<Output = Result<T, TunnelError>>,
    {
        let started = Instant::now();
        let mut pause = BACKOFF.0;
        loop {
            match attempt().await {
                Err(error) if error.is_transient() && started.elapsed() + pause < PATIENCE => {
                    tracing::debug!(%error, "no tunnel yet");
                    sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
                done => return done,
            }
        }
    }

    async fn tunnel_once(&self) -> Result<Tunnel<B>, TunnelError> {
        if let Some(tunnel) = self.pick() {
            return Ok(tunnel);
        }
        if self.http1_only.load(Ordering::Relaxed) {
            return self.http1().await;
        }
        let before = lock(&self.dials).ended;
        let opening = self.opening.lock().await;
        if let Some(tunnel) = self.pick() {
            return Ok(tunnel);
        }
        if self.http1_only.load(Ordering::Relaxed) {
            drop(opening);
            return self.http1().await;
        }
        // Whoever waited while a dial failed has waited for that dial: it shares its end.
        if let Dials {
            ended,
            failure: Some(failure),
        } = &*lock(&self.dials)
            && *ended > before
        {
            return Err(failure.clone());
        }
        let opened = self.open(None).await;
        let mut dials = lock(&self.dials);
        dials.ended += 1;
        dials.failure = opened.as_ref().err().cloned();
        opened
    }

    /// An HTTP/1.1 tunnel, once fewer than the bound are in use.
    async fn http1(&self) -> Result<Tunnel<B>, TunnelError> {
        let permit = self.permit().await;
        let idle = {
            let mut idle = lock(&self.idle);
            std::iter::from_fn(|| idle.pop()).find(|idle| idle.sender.is_ready())
        };
        match idle {
            Some(idle) => Ok(Tunnel::Http1(Http1 {
                idle,
                _permit: permit,
            })),
            None => self.open(Some(permit)).await,
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        let tunnels = self.http1_tunnels.clone();
        tunnels
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// An open HTTP/2 tunnel with room for one more request.
    fn pick(&self) -> Option<Tunnel<B>> {
        let mut lanes = lock(&self.lanes);
        lanes.retain(|lane| !lane.sender.is_closed());
        lanes.iter().find_map(|lane| {
            let stream = Stream::open(&lane.streams, lane.limit.load(Ordering::Relaxed))?;
            Some(Tunnel::Http2(
                lane.sender.clone(),
                stream,
                lane.far_side.clone(),
            ))
        })
    }

    async fn open(&self, permit: Option<OwnedSemaphorePermit>) -> Result<Tunnel<B>, TunnelError> {
        let Opened {
            stream,
            is_h2,
            far_side,
        } = self.opener.open(Purpose::Requests).await?;
        if is_h2 {
            let (sender, mut connection) = http2_builder().handshake(TokioIo::new(stream)).await?;
            let limit = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
            let published = limit.clone();
            tokio::spawn(async move {
                let driving = std::future::poll_fn(|cx| {
                    let polled = Pin::new(&mut connection).poll(cx);
                    published.store(connection.current_max_send_streams(), Ordering::Relaxed);
                    polled
                });
                match driving.await {
                    Ok(()) => tracing::debug!("tunnel ended"),
                    Err(error) => tracing::info!(%error, "tunnel lost"),
                }
            });
            let streams = Arc::new(AtomicUsize::new(1));
            let stream = Stream(streams.clone());
            self.http1_only.store(false, Ordering::Relaxed);
            lock(&self.lanes).push(Lane {
                sender: sender.clone(),
                streams,
                limit,
                far_side: far_side.clone(),
            });
            return Ok(Tunnel::Http2(sender, stream, far_side));
        }
        self.http1_only.store(true, Ordering::Relaxed);
        let (sender, connection) = http1_builder().handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/1.1 tunnel ended");
            }
        });
        let permit = match permit {
            Some(permit) => permit,
            None => self.permit().await,
        };
        Ok(Tunnel::Http1(Http1 {
            idle: Idle { sender, far_side },
            _permit: permit,
        }))
    }

    fn give_back(self: Arc<Self>, tunnel: Tunnel<B>) {
        if let Tunnel::Http1(http1) = tunnel {
            drop(Checkout {
                http1: Some(http1),
                pool: self,
            });
        }
    }
}

/// One of a lane's streams.
#[derive(Debug)]
struct Stream(Arc<AtomicUsize>);

impl Stream {
    fn open(streams: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        streams
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < limit).then_some(open + 1)
            })
            .ok()
            .map(|_| Self(streams.clone()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place for Stream {}

/// An HTTP/1.1 tunnel in use; it goes back once it is ready for the next request.
struct Checkout<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http1: Option<Http1<B>>,
    pool: Arc<Inner<B>>,
}

impl<B> Drop for Checkout<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn drop(&mut self) {
        let Some(Http1 {
            mut idle,
            _permit: permit,
        }) = self.http1.take()
        else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let pool = self.pool.clone();
        // Ends as soon as the connection is ready or closed.
        runtime.spawn(async move {
            if idle.sender.ready().await.is_ok() {
                lock(&pool.idle).push(idle);
            }
            drop(permit);
        });
    }
}

impl<B> Place for Checkout<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
}

impl<B> fmt::Debug for Checkout<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("opener", &self.inner.opener)
            .finish_non_exhaustive()
    }
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADER_LIST as usize);
    builder
}

fn for_http2<B>(request: &mut Request<B>, far_side: &FarSide) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if far_side.tls.is_some() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = far_side.authority().parse::<Authority>().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().remove(header::HOST);
    *request.version_mut() = Version::HTTP_2;
}

fn for_http1<B>(request: &mut Request<B>, far_side: &FarSide) {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    if let Ok(host) = HeaderValue::from_str(far_side.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.version_mut() = Version::HTTP_11;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
