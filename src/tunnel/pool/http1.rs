//! Who gets an HTTP/1.1 tunnel, where the far side has no HTTP/2: a bounded number of requests at
//! once, a few dials at once, and what comes back before what is dialled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::checkout::{Http1, Idle};
use super::{Inner, Outgoing, Tunnel, lock};
use crate::tunnel::TunnelError;
use crate::tunnel::open::Purpose;

/// How many requests HTTP/1.1 tunnels carry at once, before any has waited too long.
pub(super) const HTTP1_TUNNELS: usize = 64;
/// The number that this may grow to.
const HTTP1_MOST: usize = 1024;
/// Whoever has queued so long waits for what does not end, as watches do: one tunnel more.
const QUEUE: Duration = Duration::from_secs(2);
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
