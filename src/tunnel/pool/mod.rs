//! The HTTP connections of one cluster.
//!
//! Over HTTP/2 all requests share one tunnel; a further one is opened only when the stream limit
//! is reached, since excess streams would queue unseen behind watches that never end, or when a
//! bulk body fills the tunnel. Over HTTP/1.1 each request has a tunnel of its own, of which a
//! bounded number is kept; further requests queue, because redialling costs five round trips. An
//! upgrade always has a tunnel of its own, and [`Pool::keep`] has one ready for the next.
//!
//! A request that has certainly not been acted upon is sent again on another tunnel, and so is one
//! that is safe by its method and has no body; any other that may have arrived is not.

mod account;
mod again;
mod checkout;
mod connection;
mod http1;
mod keep;
mod lane;
mod obtain;
mod pinger;
mod turns;
mod wake;
mod watchdog;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{TrySendError, http2};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use self::account::Account;
use self::again::Again;
use self::checkout::{Checkout, Http1, Idle};
use self::http1::{HTTP1_DIALS, HTTP1_TUNNELS};
use self::lane::{Lane, Stream};
use self::obtain::{Dials, Opening};
use super::body::PooledBody;
use super::upload::Upload;
use super::{FarSide, Opener, TunnelError};
use crate::clock::Walls;

/// How long the answer to an upgrade may take.
const UPGRADE_DEADLINE: Duration = Duration::from_mins(1);
/// How often a request is moved to another tunnel.
const MOVES: u32 = 3;
/// The longest pause before the second move; each one after it may be twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// The body of a request that a pool can carry.
pub trait Outgoing:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

impl<B> Outgoing for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
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
    opening: Arc<Opening>,
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
    /// The clocks when a tunnel was last looked for.
    walls: Mutex<Walls>,
    /// The tasks that drive connections and dials.
    tasks: TaskTracker,
}

/// What a request goes out on.
enum Tunnel<B> {
    Http2(http2::SendRequest<Upload<B>>, Stream, Arc<FarSide>),
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
                walls: Mutex::new(Walls::now()),
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
        let mut account = Account::of(&request);
        let mut request = request.map(Upload::new);
        let again = Again::of(&mut request);
        let harmless = again.as_ref().filter(|again| again.is_harmless());
        let (mut moves, mut waited) = (0, Duration::ZERO);
        let answer = loop {
            let tunnel = self.inner.tunnel(&mut waited).await;
            account.waited(waited, tunnel.is_ok());
            let tunnel = match tunnel {
                Ok(tunnel) => tunnel,
                Err(error) => break Err(error),
            };
            let harmless = harmless.filter(|_| moves < MOVES);
            let sending = self.inner.clone().send(tunnel, request, harmless);
            let failure = match sending.await {
                Ok(response) => break Ok(response),
                Err(failure) => failure,
            };
            let unsent = failure
                .unsent
                .or_else(|| again.as_ref()?.after(&failure.error));
            request = match unsent {
                Some(unsent) if moves < MOVES => unsent,
                _ => break Err(failure.error),
            };
            tracing::debug!(error = %failure.error, "a request moves to another tunnel");
            account.moves();
            if moves > 0 {
                sleep((PAUSE * 2_u32.pow(moves - 1)).mul_f64(fastrand::f64())).await;
            }
            moves += 1;
        };
        account.ends(answer.as_ref().map(Response::status));
        answer
    }

    /// Sends `request`, which asks for an upgrade, on a tunnel of its own. `hyper::upgrade::on`
    /// the answer gives the stream when its status is 101.
    ///
    /// # Errors
    /// There is no tunnel, or it broke before the answer.
    pub async fn upgrade(&self, request: Request<B>) -> Result<Response<Incoming>, TunnelError> {
        let mut account = Account::of(&request);
        let answer = self.upgrade_by(request, &mut account).await;
        account.ends(answer.as_ref().map(Response::status));
        answer
    }

    async fn upgrade_by(
        &self,
        request: Request<B>,
        account: &mut Account,
    ) -> Result<Response<Incoming>, TunnelError> {
        let mut request = request.map(Upload::new);
        let mut waited = Duration::ZERO;
        self.inner.wake();
        for _ in 0..=MOVES {
            let idle = if let Some(idle) = self.inner.take_idle() {
                Ok(idle)
            } else {
                let opening = || self.inner.open_upgrade();
                self.inner.patiently(&mut waited, opening).await
            };
            account.waited(waited, idle.is_ok());
            let mut idle = idle?;
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
            account.moves();
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
    #[cfg(test)]
    pub(super) fn has_spare(&self) -> bool {
        self.inner.has_idle()
    }

    /// As if the machine had slept since the last request.
    #[cfg(test)]
    pub(super) fn sleep(&self, time: Duration) {
        let mut walls = lock(&self.inner.walls);
        *walls = walls.behind(time);
    }

    /// Whether a bulk body fills a tunnel.
    #[cfg(test)]
    pub(super) fn is_bulk(&self) -> bool {
        lock(&self.inner.lanes).iter().any(Lane::is_bulk)
    }

    /// How many HTTP/2 tunnels are open.
    pub fn lanes(&self) -> usize {
        lock(&self.inner.lanes)
            .iter()
            .filter(|lane| lane.is_open())
            .count()
    }
}

/// Why a request has no answer.
struct Failure<B> {
    error: TunnelError,
    /// The request, if it certainly was not sent.
    unsent: Option<Request<Upload<B>>>,
}

impl<B> From<TrySendError<Request<Upload<B>>>> for Failure<B> {
    fn from(mut error: TrySendError<Request<Upload<B>>>) -> Self {
        Self {
            unsent: error.take_message(),
            error: error.into_error().into(),
        }
    }
}

/// The far side should have spoken by now.
fn silent<B>() -> Failure<B> {
    Failure {
        error: TunnelError::Deadline("an answer"),
        unsent: None,
    }
}

impl<B: Outgoing> Inner<B> {
    /// Sends `request` on `tunnel`. One that is `harmless` is given up when the tunnel comes into
    /// doubt.
    async fn send(
        self: Arc<Self>,
        tunnel: Tunnel<B>,
        mut request: Request<Upload<B>>,
        harmless: Option<&Again>,
    ) -> Result<Response<PooledBody>, Failure<B>> {
        match tunnel {
            Tunnel::Http2(mut sender, stream, far_side) => {
                connection::for_http2(&mut request, &far_side);
                request.body_mut().place(stream.upload());
                stream.turn().await;
                let waiting = stream.wait();
                let sending = sender.try_send_request(request);
                let response = if harmless.is_some() {
                    tokio::select! {
                        biased;
                        sent = sending => sent?,
                        () = stream.pulse().until(true) => return Err(silent()),
                    }
                } else {
                    sending.await?
                };
                drop(waiting);
                Ok(PooledBody::of(response, stream))
            }
            // In a box, since its room would be kept where it is not needed, too.
            Tunnel::Http1(http1) => Box::pin(self.send_http1(http1, request, harmless)).await,
        }
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
