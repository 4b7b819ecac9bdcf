//! The HTTP connections of one cluster.
//!
//! Over HTTP/2 all requests share one tunnel; a further one is opened only when the peer's stream
//! limit is reached, since excess streams would queue unseen behind watches that never end. Over
//! HTTP/1.1 each request has a tunnel of its own, of which a bounded number is kept; further
//! requests queue, because redialling costs five round trips. An upgrade always has a tunnel of
//! its own.
//!
//! What has not been sent is sent again on another tunnel; what may have been sent is not.

mod checkout;
mod connection;
mod lane;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use self::checkout::{Checkout, Http1, Idle};
use self::lane::{Lane, Stream};
use super::body::PooledBody;
use super::open::{Opened, Purpose};
use super::{FarSide, Opener, TunnelError};

/// HTTP/1.1 tunnels, watches included.
const HTTP1_TUNNELS: usize = 256;
/// How long a request that has sent nothing goes on trying to get a tunnel.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits in all: a last attempt that has begun may take its own deadlines.
const WAIT: Duration = Duration::from_mins(1);
/// How long the answer to an upgrade may take.
const UPGRADE_DEADLINE: Duration = Duration::from_mins(1);
/// The first and the longest pause between dials.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often an unsent request is moved to another tunnel.
const MOVES: usize = 3;

/// The body of a request that a pool can carry.
pub trait Outgoing:
    Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

impl<B> Outgoing for B where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static
{
}

/// The tunnels of one cluster, carrying requests with bodies of type `B`.
pub struct Pool<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    opener: Opener,
    /// Held while a tunnel for requests is being opened, so that one opens for all who wait.
    opening: Arc<tokio::sync::Mutex<()>>,
    dials: Mutex<Dials>,
    lanes: Mutex<Vec<Lane<B>>>,
    /// HTTP/1.1 tunnels that wait for a request; `None` once the pool is closed.
    idle: Mutex<Option<Vec<Idle<B>>>>,
    /// One permit for each HTTP/1.1 tunnel in use.
    http1_tunnels: Arc<Semaphore>,
    /// Set once the far side has turned HTTP/2 down.
    http1_only: AtomicBool,
    /// Set once a tunnel has opened: an agent that is away now may come back.
    has_worked: AtomicBool,
    /// The tasks that drive connections and dials.
    tasks: TaskTracker,
}

/// How many dials have ended, and how the last one failed.
#[derive(Debug, Default)]
struct Dials {
    ended: usize,
    failure: Option<TunnelError>,
}

/// What a request goes out on.
enum Tunnel<B> {
    Http2(http2::SendRequest<B>, Stream, Arc<FarSide>),
    Http1(Http1<B>),
}

impl<B: Outgoing> Pool<B> {
    /// A pool of the streams that `opener` opens.
    pub fn new(opener: Opener) -> Self {
        Self {
            inner: Arc::new(Inner {
                opener,
                opening: Arc::default(),
                dials: Mutex::default(),
                lanes: Mutex::default(),
                idle: Mutex::new(Some(Vec::new())),
                http1_tunnels: Arc::new(Semaphore::new(HTTP1_TUNNELS)),
                http1_only: AtomicBool::new(false),
                has_worked: AtomicBool::new(false),
                tasks: TaskTracker::new(),
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
        connection::for_http1(&mut request, &opened.far_side);
        timeout(
            UPGRADE_DEADLINE,
            connection::upgrade(opened.stream, request, &self.inner.tasks),
        )
        .await
        .unwrap_or(Err(TunnelError::Deadline("an answer to the upgrade")))
    }

    /// Ends the tunnels that carry nothing, telling the far side, and waits up to `grace` for
    /// those that still do. For the end of the program: no request may follow.
    pub async fn close(&self, grace: Duration) {
        lock(&self.inner.lanes).clear();
        *lock(&self.inner.idle) = None;
        self.inner.tasks.close();
        if timeout(grace, self.inner.tasks.wait()).await.is_err() {
            tracing::debug!("a tunnel did not end in time");
        }
    }

    /// How many HTTP/2 tunnels are open.
    pub fn lanes(&self) -> usize {
        lock(&self.inner.lanes)
            .iter()
            .filter(|lane| lane.is_open())
            .count()
    }
}

enum Sent<B> {
    Answered(Response<PooledBody>),
    Unsent(Request<B>),
}

impl<B: Outgoing> Inner<B> {
    async fn send(
        self: Arc<Self>,
        tunnel: Tunnel<B>,
        mut request: Request<B>,
    ) -> Result<Sent<B>, TunnelError> {
        match tunnel {
            Tunnel::Http2(mut sender, stream, far_side) => {
                connection::for_http2(&mut request, &far_side);
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
                connection::for_http1(&mut request, &http1.idle.far_side);
                match http1.idle.sender.try_send_request(request).await {
                    Ok(response) => {
                        let (parts, body) = response.into_parts();
                        let place = Checkout::new(http1, self);
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
    async fn tunnel(self: &Arc<Self>) -> Result<Tunnel<B>, TunnelError> {
        self.patiently(|| self.tunnel_once()).await
    }

    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, TunnelError>
    where
        F: Future<Output = Result<T, TunnelError>>,
    {
        let started = Instant::now();
        let mut pause = BACKOFF.0;
        let trying = async {
            loop {
                match attempt().await {
                    Err(error) if self.may_pass(&error) && started.elapsed() + pause < PATIENCE => {
                        tracing::debug!(%error, "no tunnel yet");
                        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                        pause = (pause * 2).min(BACKOFF.1);
                    }
                    done => return done,
                }
            }
        };
        timeout(WAIT, trying)
            .await
            .unwrap_or(Err(TunnelError::Deadline("a tunnel")))
    }

    fn may_pass(&self, error: &TunnelError) -> bool {
        error.is_transient() || (self.has_worked.load(Ordering::Relaxed) && error.is_agent_away())
    }

    async fn tunnel_once(self: &Arc<Self>) -> Result<Tunnel<B>, TunnelError> {
        if let Some(tunnel) = self.pick() {
            return Ok(tunnel);
        }
        if self.http1_only.load(Ordering::Relaxed) {
            return self.http1().await;
        }
        let before = lock(&self.dials).ended;
        let opening = self.opening.clone().lock_owned().await;
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
        // In a task of its own: whoever asked first may lose patience, the others need the tunnel
        // all the same. It ends by the dial's own deadlines.
        let inner = self.clone();
        let dial = self.tasks.spawn(async move {
            let opened = inner.open(None).await;
            let mut dials = lock(&inner.dials);
            dials.ended += 1;
            dials.failure = opened.as_ref().err().cloned();
            drop(dials);
            drop(opening);
            opened
        });
        dial.await.unwrap_or(Err(TunnelError::Deadline(
            "a tunnel, which the end of the program cut short",
        )))
    }

    /// An HTTP/1.1 tunnel, once fewer than the bound are in use.
    async fn http1(&self) -> Result<Tunnel<B>, TunnelError> {
        let permit = self.permit().await;
        let idle = {
            let mut idle = lock(&self.idle);
            std::iter::from_fn(|| idle.as_mut()?.pop()).find(Idle::is_ready)
        };
        match idle {
            Some(idle) => Ok(Tunnel::Http1(Http1::new(idle, permit))),
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
        lanes.retain(Lane::is_open);
        lanes
            .iter()
            .find_map(|lane| Some(lane.tunnel(lane.stream()?)))
    }

    async fn open(&self, permit: Option<OwnedSemaphorePermit>) -> Result<Tunnel<B>, TunnelError> {
        let Opened {
            stream,
            is_h2,
            far_side,
        } = self.opener.open(Purpose::Requests).await?;
        self.has_worked.store(true, Ordering::Relaxed);
        if is_h2 {
            let (lane, stream) = Lane::start(stream, far_side, &self.tasks).await?;
            let tunnel = lane.tunnel(stream);
            self.http1_only.store(false, Ordering::Relaxed);
            lock(&self.lanes).push(lane);
            return Ok(tunnel);
        }
        self.http1_only.store(true, Ordering::Relaxed);
        let idle = Idle::start(stream, far_side, &self.tasks).await?;
        let permit = match permit {
            Some(permit) => permit,
            None => self.permit().await,
        };
        Ok(Tunnel::Http1(Http1::new(idle, permit)))
    }

    fn give_back(self: Arc<Self>, tunnel: Tunnel<B>) {
        if let Tunnel::Http1(http1) = tunnel {
            drop(Checkout::new(http1, self));
        }
    }
}

impl<B> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("opener", &self.inner.opener)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
