//! What the log says of a request once it has ended: one line, without its path, which may hold
//! secrets. Unless that is logged, no clock is read and nothing is kept.

use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::Level;

use crate::tunnel::TunnelError;

/// What Kubernetes tells requests apart by, where their client names them.
const ID: &str = "audit-id";

/// The account of one request. Dropping it says that its client has given it up.
pub(super) struct Account(Option<Box<Open>>);

struct Open {
    method: Method,
    id: Option<HeaderValue>,
    began: Instant,
    waited: Duration,
    moves: u32,
    has_tunnel: bool,
}

impl Account {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self(tracing::enabled!(Level::DEBUG).then(|| {
            Box::new(Open {
                method: request.method().clone(),
                id: request.headers().get(ID).cloned(),
                began: Instant::now(),
                waited: Duration::ZERO,
                moves: 0,
                has_tunnel: false,
            })
        }))
    }

    /// It has waited so long for tunnels in all, and now has one or has none.
    pub(super) fn waited(&mut self, waited: Duration, has_tunnel: bool) {
        if let Some(open) = &mut self.0 {
            (open.waited, open.has_tunnel) = (waited, has_tunnel);
        }
    }

    /// It waits for another tunnel.
    pub(super) fn moves(&mut self) {
        if let Some(open) = &mut self.0 {
            (open.moves, open.has_tunnel) = (open.moves + 1, false);
        }
    }

    /// Its answer has begun, or will not.
    pub(super) fn ends(mut self, answer: Result<StatusCode, &TunnelError>) {
        if let Some(open) = self.0.take() {
            match answer {
                Ok(status) => open.tell(Some(status), "a request is answered"),
                Err(_) => open.tell(None, "a request has failed"),
            }
        }
    }
}

impl Open {
    fn tell(&self, status: Option<StatusCode>, how: &str) {
        tracing::debug!(
            method = %self.method,
            id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            status = status.map(|status| status.as_u16()),
            waited_ms = millis(self.waited),
            moves = self.moves,
            took_ms = millis(self.began.elapsed()),
            "{how}"
        );
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let how = if open.has_tunnel {
                "a request is given up that waits for its answer"
            } else {
                "a request is given up that waits for a tunnel"
            };
            open.tell(None, how);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
