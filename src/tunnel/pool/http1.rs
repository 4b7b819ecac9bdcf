//! Who gets an HTTP/1.1 tunnel, where the far side has no HTTP/2: a bounded number of requests at
//! once, a few dials at once, and what comes back before what is dialled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::again::Again;
use super::checkout::{Checkout, Http1, Idle};
use super::connection::for_http1;
use super::{Failure, Inner, Outgoing, Tunnel, lock, silent};
use crate::tunnel::TunnelError;
use crate::tunnel::body::PooledBody;
use crate::tunnel::open::Purpose;
use crate::tunnel::upload::Upload;

/// How many requests HTTP/1.1 tunnels carry at once, before any has waited too long.
pub(super) const HTTP1_TUNNELS: usize = 64;
/// The number that this may grow to.
const HTTP1_MOST: usize = 1024;
/// Whoever has queued so long waits for what does not end, as watches do: one tunnel more.
const QUEUE: Duration = Duration::from_secs(2);
/// How long an HTTP/1.1 tunnel may have been idle and be trusted,
const UNSURE: Duration = Duration::from_secs(5);
/// and how long an answer is waited for on one that is not, before a request that may be sent twice
/// is.
const SILENCE: Duration = Duration::from_millis(1750);
/// How long the tunnel for that may take: after it, or where it failed before, both are given up.
const BESIDE: Duration = Duration::from_secs(10);
/// How many HTTP/1.1 tunnels are dialled at once; a tunnel that comes back is there sooner.
pub(super) const HTTP1_DIALS: usize = 8;

impl<B: Outgoing> Inner<B> {
    /// An HTTP/1.1 tunnel, once fewer than the bound are in use.
    pub(super) async fn http1(self: &Arc<Self>) -> Result<Tunnel<B>, TunnelError> {
        let permit = self.permit().await;
        loop {
            if let Some(idle) = self.take_idle() {
                self.spare_wanted.notify_one();
                return Ok(Tunnel::Http1(Http1::new(idle, permit)));
            }
            tokio::select! {
                biased;
                () = self.returned.notified() => {}
                dialling = self.http1_dials.acquire() => {
                    let _dialling = dialling.expect("the semaphore is never closed");
                    return self.open(Some(permit)).await;
                }
            }
        }
    }

    /// Sends `request` on `http1`. HTTP/1.1 has no ping: what has long been idle may have been cut
    /// without a word, or its server is slow. So one that is `harmless` is sent again beside.
    pub(super) async fn send_http1(
        self: Arc<Self>,
        mut http1: Http1<B>,
        mut request: Request<Upload<B>>,
        harmless: Option<&Again>,
    ) -> Result<Response<PooledBody>, Failure<B>> {
        for_http1(&mut request, &http1.idle.far_side);
        let unsure = harmless.filter(|_| http1.idle.since.elapsed() >= UNSURE);
        let sending = http1.idle.sender.try_send_request(request);
        let response = match unsure {
            Some(again) => tokio::select! {
                biased;
                sent = sending => sent?,
                answer = Box::pin(self.beside(again)) => {
                    if answer.is_ok() {
                        self.doubt_idle();
                    }
                    return answer;
                }
            },
            None => sending.await?,
        };
        Ok(PooledBody::of(response, Checkout::new(http1, self)))
    }

    /// Sends a request once more, on a new tunnel, when its answer is late. Where that fails, the
    /// first one may still be answered: for so long the failure is not told.
    async fn beside(self: &Arc<Self>, again: &Again) -> Result<Response<PooledBody>, Failure<B>> {
        sleep(SILENCE).await;
        let end = Instant::now() + BESIDE;
        let answer = self.anew(again).await;
        if answer.is_err() {
            sleep_until(end).await;
        }
        answer
    }

    async fn anew(self: &Arc<Self>, again: &Again) -> Result<Response<PooledBody>, Failure<B>> {
        let failed = |error| Failure {
            error,
            unsent: None,
        };
        let opening = async {
            let permit = self.permit().await;
            let dialling = self.http1_dials.acquire().await;
            let _dialling = dialling.expect("the semaphore is never closed");
            self.open(Some(permit)).await
        };
        let late = |_| Err(TunnelError::Deadline("a tunnel"));
        let opened = timeout(BESIDE, opening).await.unwrap_or_else(late);
        let Tunnel::Http1(mut http1) = opened.map_err(failed)? else {
            // It has HTTP/2 now, and a tunnel is there.
            return Err(silent());
        };
        let mut request = again.after(&silent::<B>().error).ok_or_else(silent)?;
        for_http1(&mut request, &http1.idle.far_side);
        let response = http1.idle.sender.try_send_request(request).await?;
        Ok(PooledBody::of(response, Checkout::new(http1, self.clone())))
    }

    /// An HTTP/1.1 tunnel that waits for a request: the one that was in use last.
    pub(super) fn take_idle(&self) -> Option<Idle<B>> {
        let mut idle = lock(&self.idle);
        std::iter::from_fn(|| idle.as_mut()?.pop()).find(Idle::is_ready)
    }

    pub(super) async fn open_upgrade(&self) -> Result<Idle<B>, TunnelError> {
        let opened = self.opener.open(Purpose::Upgrade).await?;
        Idle::start(opened, &self.tasks).await
    }

    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            let tunnels = self.http1_tunnels.clone();
            if let Ok(permit) = timeout(QUEUE, tunnels.acquire_owned()).await {
                return permit.expect("the semaphore is never closed");
            }
            let grown =
                self.http1_bound
                    .try_update(Ordering::Relaxed, Ordering::Relaxed, |bound| {
                        (bound < HTTP1_MOST).then_some(bound + 1)
                    });
            if grown.is_ok() {
                self.http1_tunnels.add_permits(1);
            }
        }
    }
}
