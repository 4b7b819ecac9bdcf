//! The HTTP connections of one cluster.
//!
//! Over HTTP/2 all requests share one tunnel; a further one is opened only when the stream limit
//! is reached, since excess streams would queue unseen behind watches that never end, or when a
//! bulk body fills the tunnel. Over HTTP/1.1 each request has a tunnel of its own, of which a
//! bounded number is kept; further requests queue, because redialling costs five round trips. An
//! upgrade always has a tunnel of its own, and [`Pool::keep`] has one ready for the next.
//!
//! What has not been sent is sent again on another tunnel; what may have been sent is not.

mod checkout;
mod connection;
mod http1;
mod keep;
mod lane;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use self::checkout::{Checkout, Http1, Idle};
use self::http1::{HTTP1_DIALS, HTTP1_TUNNELS};
use self::lane::{Lane, Stream};
use super::body::{Metered, PooledBody};
use super::open::{Opened, Purpose};
use super::{FarSide, Opener, TunnelError};

/// How long a request waits for a tunnel beside one that a bulk body fills.
const DETOUR: Duration = Duration::from_secs(1);
/// How long after a dial that failed no such tunnel is asked for.
const NO_DETOUR: Duration = Duration::from_secs(5);
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
    /// How many such permits there are.
    http1_bound: AtomicUsize,
    http1_dials: Semaphore,
    /// An HTTP/1.1 tunnel has come back.
    returned: Notify,
    /// The tunnel that waits for an upgrade is gone.
    spare_wanted: Notify,
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
    failure: Option<(Instant, TunnelError)>,
}

/// What a request goes out on.
enum Tunnel<B> {
    Http2(http2::SendRequest<Metered<B>>, Stream, Arc<FarSide>),
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
                http1_bound: AtomicUsize::new(HTTP1_TUNNELS),
                http1_dials: Semaphore::new(HTTP1_DIALS),
                returned: Notify::new(),
                spare_wanted: Notify::new(),
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
    pub async fn request(&self, request: Request<B>) -> Result<Response<PooledBody>, TunnelError> {
        let mut request = request.map(Metered::new);
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
    pub async fn upgrade(&self, request: Request<B>) -> Result<Response<Incoming>, TunnelError> {
        let mut request = request.map(Metered::new);
        for _ in 0..=MOVES {
            let mut idle = match self.inner.take_idle() {
                Some(idle) => idle,
                None => self.inner.patiently(|| self.inner.open_upgrade()).await?,
            };
            self.inner.spare_wanted.notify_one();
            connection::for_http1(&mut request, &idle.far_side);
            let sending = idle.sender.try_send_request(request);
            let Ok(sent) = timeout(UPGRADE_DEADLINE, sending).await else {
                return Err(TunnelError::Deadline("an answer to the upgrade"));
            };
            request = match sent {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => unsent,
                    None => return Err(error.into_error().into()),
                },
            };
        }
        Err(TunnelError::Deadline("a tunnel that takes upgrades"))
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

    /// Whether a tunnel is ready for the next upgrade.
    pub fn has_spare(&self) -> bool {
        self.inner.has_idle()
    }

    /// How many HTTP/2 tunnels are open.
    pub fn lanes(&self) -> usize {
        lock(&self.inner.lanes)
            .iter()
            .filter(|lane| lane.is_open())
            .count()
    }
}

/// An HTTP/2 tunnel with room.
enum Pick<B> {
    /// It carries nothing large.
    Clear(Tunnel<B>),
    /// A bulk body fills it.
    Bulk(Tunnel<B>),
}

enum Sent<B> {
    Answered(Response<PooledBody>),
    Unsent(Request<Metered<B>>),
}

impl<B: Outgoing> Inner<B> {
    async fn send(
        self: Arc<Self>,
        tunnel: Tunnel<B>,
        mut request: Request<Metered<B>>,
    ) -> Result<Sent<B>, TunnelError> {
        match tunnel {
            Tunnel::Http2(mut sender, stream, far_side) => {
                connection::for_http2(&mut request, &far_side);
                request.body_mut().place(stream.upload());
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
        match self.pick() {
            Some(Pick::Clear(tunnel)) => Ok(tunnel),
            Some(Pick::Bulk(tunnel)) if self.dial_failed_within(NO_DETOUR) => Ok(tunnel),
            Some(Pick::Bulk(tunnel)) => match timeout(DETOUR, self.another()).await {
                Ok(Ok(another)) => Ok(another),
                Ok(Err(_)) | Err(_) => Ok(tunnel),
            },
            None => self.another().await,
        }
    }

    fn dial_failed_within(&self, time: Duration) -> bool {
        let dials = lock(&self.dials);
        dials
            .failure
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < time)
    }

    /// A tunnel beside those that have no room, or are full of a bulk body. One dial serves all who
    /// wait.
    async fn another(self: &Arc<Self>) -> Result<Tunnel<B>, TunnelError> {
        if self.http1_only.load(Ordering::Relaxed) {
            return self.http1().await;
        }
        let before = lock(&self.dials).ended;
        let opening = self.opening.clone().lock_owned().await;
        if let Some(Pick::Clear(tunnel)) = self.pick() {
            return Ok(tunnel);
        }
        if self.http1_only.load(Ordering::Relaxed) {
            drop(opening);
            return self.http1().await;
        }
        // Whoever waited while a dial failed has waited for that dial: it shares its end.
        if let Dials {
            ended,
            failure: Some((_, failure)),
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
            let failure = opened.as_ref().err().cloned();
            dials.failure = failure.map(|failure| (Instant::now(), failure));
            drop(dials);
            drop(opening);
            opened
        });
        dial.await.unwrap_or(Err(TunnelError::Deadline(
            "a tunnel, which the end of the program cut short",
        )))
    }

    /// An open HTTP/2 tunnel with room for one more request, best one that no bulk body fills.
    fn pick(&self) -> Option<Pick<B>> {
        let mut lanes = lock(&self.lanes);
        lanes.retain(Lane::is_open);
        let with_room = |is_bulk: bool| {
            let mut lanes = lanes.iter().filter(|lane| lane.is_bulk() == is_bulk);
            lanes.find_map(|lane| Some(lane.tunnel(lane.stream()?)))
        };
        with_room(false)
            .map(Pick::Clear)
            .or_else(|| with_room(true).map(Pick::Bulk))
    }

    async fn open(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Tunnel<B>, TunnelError> {
        let Opened {
            stream,
            is_h2,
            far_side,
        } = self.opener.open(Purpose::Requests).await?;
        self.has_worked.store(true, Ordering::Relaxed);
        if is_h2 {
            let pool = Arc::downgrade(self);
            let lost = move || {
                if let Some(pool) = pool.upgrade() {
                    pool.doubt_idle();
                }
            };
            let (lane, stream) = Lane::start(stream, far_side, &self.tasks, lost).await?;
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

    /// Lets go of the tunnels that wait: what has cut another tunnel may have cut them unseen.
    fn doubt_idle(&self) {
        if let Some(idle) = &mut *lock(&self.idle) {
            idle.clear();
        }
        self.spare_wanted.notify_one();
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
