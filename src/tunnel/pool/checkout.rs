//! HTTP/1.1 tunnels: in use by one request at a time, kept between requests.

use std::fmt;
use std::sync::Arc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::http1_builder;
use super::{Inner, Outgoing, lock};
use crate::tunnel::body::Place;
use crate::tunnel::open::Opened;
use crate::tunnel::upload::Upload;
use crate::tunnel::{FarSide, TunnelError};

/// An HTTP/1.1 tunnel that waits for a request.
pub(super) struct Idle<B> {
    pub(super) sender: http1::SendRequest<Upload<B>>,
    pub(super) far_side: Arc<FarSide>,
    pub(super) since: Instant,
}

/// An HTTP/1.1 tunnel in use.
pub(super) struct Http1<B> {
    pub(super) idle: Idle<B>,
    _permit: OwnedSemaphorePermit,
}

impl<B: Outgoing> Idle<B> {
    /// Starts HTTP/1.1 over what has been opened.
    pub(super) async fn start(opened: Opened, tasks: &TaskTracker) -> Result<Self, TunnelError> {
        let Opened {
            stream, far_side, ..
        } = opened;
        let (sender, connection) = http1_builder().handshake(TokioIo::new(stream)).await?;
        // Ends when the tunnel breaks or its sender is dropped, or with an upgrade.
        tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "HTTP/1.1 tunnel ended");
            }
        });
        Ok(Self {
            sender,
            far_side,
            since: Instant::now(),
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

impl<B> Http1<B> {
    pub(super) fn new(idle: Idle<B>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            idle,
            _permit: permit,
        }
    }
}

/// An HTTP/1.1 tunnel in use; it goes back once it is ready for the next request.
pub(super) struct Checkout<B: Outgoing> {
    http1: Option<Http1<B>>,
    pool: Arc<Inner<B>>,
}

impl<B: Outgoing> Checkout<B> {
    pub(super) fn new(http1: Http1<B>, pool: Arc<Inner<B>>) -> Self {
        Self {
            http1: Some(http1),
            pool,
        }
    }
}

impl<B: Outgoing> Drop for Checkout<B> {
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
        let returning = async move {
            if idle.sender.ready().await.is_ok()
                && let Some(waiting) = &mut *lock(&pool.idle)
            {
                idle.since = Instant::now();
                waiting.push(idle);
            }
            drop(permit);
            pool.returned.notify_one();
        };
        self.pool.tasks.spawn_on(returning, &runtime);
    }
}

impl<B: Outgoing> Place for Checkout<B> {
    /// A tunnel that is used alone has nobody to tell.
    fn moved(&mut self, _: usize) {}
}

impl<B: Outgoing> fmt::Debug for Checkout<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").finish_non_exhaustive()
    }
}
