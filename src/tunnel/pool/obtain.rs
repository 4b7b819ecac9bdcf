//! Getting a tunnel for a request: one that is open and has room, or one that is dialled, once for
//! all who wait and with patience while the cause may pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::checkout::{Http1, Idle};
use super::lane::Lane;
use super::{Inner, Outgoing, Tunnel, lock};
use crate::tunnel::TunnelError;
use crate::tunnel::open::Purpose;
use crate::tunnel::pulse::Pulse;

/// How long a request waits for a tunnel beside one that a bulk body fills.
const DETOUR: Duration = Duration::from_secs(1);
/// How long after a dial that failed no such tunnel is asked for.
const NO_DETOUR: Duration = Duration::from_secs(5);
/// How long a request goes on trying to get a tunnel, and others in place of those it loses.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits in all: a last attempt that has begun may take its own deadlines.
const WAIT: Duration = Duration::from_mins(1);
/// The first and the longest pause between dials; each is drawn from its whole range.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How many dials have ended, and how the last one failed.
#[derive(Debug, Default)]
pub(super) struct Dials {
    ended: usize,
    failure: Option<(Instant, TunnelError)>,
}

/// Who opens a tunnel for requests: one does, and all who wait take the same one at once. In a
/// queue each would have to be reached in turn, past everything else that is to be done, and a
/// tunnel may be lost again before the last is.
#[derive(Debug, Default)]
pub(super) struct Opening {
    is_taken: AtomicBool,
    over: Notify,
}

/// The turn to open one.
struct Turn(Arc<Opening>);

impl Opening {
    fn take(self: &Arc<Self>) -> Option<Turn> {
        let is_free = !self.is_taken.swap(true, Ordering::Relaxed);
        is_free.then(|| Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Relaxed);
        self.0.over.notify_waiters();
    }
}

/// An HTTP/2 tunnel with room.
enum Pick<B> {
    /// It carries nothing large.
    Clear(Tunnel<B>),
    /// A bulk body fills it.
    Bulk(Tunnel<B>),
    /// There is one, but it is in doubt whether its far side is there.
    Doubted(Arc<Pulse>),
}

impl<B: Outgoing> Inner<B> {
    /// A tunnel for a request, waiting for one as long as patience lasts. `waited` says how long
    /// the request has done so, and is kept.
    pub(super) async fn tunnel(
        self: &Arc<Self>,
        waited: &mut Duration,
    ) -> Result<Tunnel<B>, TunnelError> {
        self.patiently(waited, || self.tunnel_once()).await
    }

    /// Repeats `attempt` as long as patience lasts.
    pub(super) async fn patiently<T, F>(
        &self,
        waited: &mut Duration,
        attempt: impl Fn() -> F,
    ) -> Result<T, TunnelError>
    where
        F: Future<Output = Result<T, TunnelError>>,
    {
        let patience = PATIENCE.saturating_sub(*waited);
        let started = Instant::now();
        let mut pause = BACKOFF.0;
        let trying = async {
            loop {
                match attempt().await {
                    Err(error) if self.may_pass(&error) && started.elapsed() + pause < patience => {
                        tracing::debug!(%error, "no tunnel yet");
                        sleep(pause.mul_f64(fastrand::f64())).await;
                        pause = (pause * 2).min(BACKOFF.1);
                    }
                    done => return done,
                }
            }
        };
        let tried = timeout(WAIT.saturating_sub(*waited), trying).await;
        *waited += started.elapsed();
        tried.unwrap_or(Err(TunnelError::Deadline("a tunnel")))
    }

    fn may_pass(&self, error: &TunnelError) -> bool {
        error.is_transient() || (self.has_worked.load(Ordering::Relaxed) && error.is_agent_away())
    }

    pub(super) async fn tunnel_once(self: &Arc<Self>) -> Result<Tunnel<B>, TunnelError> {
        self.wake();
        match self.pick() {
            Some(Pick::Clear(tunnel)) => Ok(tunnel),
            Some(Pick::Doubted(pulse)) => {
                // A path that was only slow is there again before another one is.
                let trusted = async {
                    pulse.until(false).await;
                    match self.pick() {
                        Some(Pick::Clear(tunnel) | Pick::Bulk(tunnel)) => tunnel,
                        Some(Pick::Doubted(_)) | None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    tunnel = trusted => Ok(tunnel),
                    another = self.another() => another,
                }
            }
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
        let before = lock(&self.dials).ended;
        loop {
            let over = self.opening.over.notified();
            if self.http1_only.load(Ordering::Relaxed) {
                return self.http1().await;
            }
            if let Some(Pick::Clear(tunnel)) = self.pick() {
                return Ok(tunnel);
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
            match self.opening.take() {
                Some(turn) => return self.dial(turn).await,
                None => over.await,
            }
        }
    }

    /// Opens a tunnel, in a task of its own: whoever asked first may lose patience, the others need
    /// the tunnel all the same. It ends by the dial's own deadlines.
    async fn dial(self: &Arc<Self>, turn: Turn) -> Result<Tunnel<B>, TunnelError> {
        let inner = self.clone();
        let dial = self.tasks.spawn(async move {
            let opened = inner.open(None).await;
            let mut dials = lock(&inner.dials);
            dials.ended += 1;
            let failure = opened.as_ref().err().cloned();
            dials.failure = failure.map(|failure| (Instant::now(), failure));
            drop(dials);
            drop(turn);
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
            let mut lanes = lanes
                .iter()
                .filter(|lane| lane.is_bulk() == is_bulk && !lane.pulse().is_doubted());
            lanes.find_map(|lane| Some(lane.tunnel(lane.stream()?)))
        };
        let doubted = || lanes.iter().find(|lane| lane.pulse().is_doubted());
        with_room(false)
            .map(Pick::Clear)
            .or_else(|| with_room(true).map(Pick::Bulk))
            .or_else(|| doubted().map(|lane| Pick::Doubted(lane.pulse().clone())))
    }

    pub(super) async fn open(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Tunnel<B>, TunnelError> {
        let opened = self.opener.open(Purpose::Requests).await?;
        self.has_worked.store(true, Ordering::Relaxed);
        if opened.is_h2 {
            let pool = Arc::downgrade(self);
            let lost = move || {
                if let Some(pool) = pool.upgrade() {
                    pool.doubt_idle();
                }
            };
            let (lane, stream) = Lane::start(opened, &self.tasks, lost).await?;
            let tunnel = lane.tunnel(stream);
            self.http1_only.store(false, Ordering::Relaxed);
            lock(&self.lanes).push(lane);
            return Ok(tunnel);
        }
        self.http1_only.store(true, Ordering::Relaxed);
        let idle = Idle::start(opened, &self.tasks).await?;
        let permit = match permit {
            Some(permit) => permit,
            None => self.permit().await,
        };
        Ok(Tunnel::Http1(Http1::new(idle, permit)))
    }
}
