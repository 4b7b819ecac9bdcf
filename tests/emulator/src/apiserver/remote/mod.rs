//! Stub.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::runtime::{PodRef, Runtime};
use crate::http::{Body, json};

/// Kind.
#[derive(Debug, Clone, Copy)]
pub enum Remote {
    /// exec
    Exec,
    /// attach
    Attach,
    /// port-forward
    PortForward,
}

/// Serve.
#[expect(clippy::unused_async, reason = "stub")]
pub async fn serve(
    kind: Remote,
    pod: PodRef,
    request: Request<Incoming>,
    runtime: Arc<Runtime>,
) -> Response<Body> {
    let _ = (kind, pod, request, runtime);
    json(StatusCode::NOT_IMPLEMENTED, &())
}
