//! HTTP connections to the far side: their settings, and a request in the form of each.

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use crate::tunnel::FarSide;

/// One stream's throughput is about 0.7 × window / round trip.
const STREAM_WINDOW: u32 = 8 << 20;
/// As large as it may be (RFC 9113, section 6.9.1).
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How many streams a connection carries at most, whatever the peer allows: as many as have room
/// for their full windows, so that the others go on however many of them are never read. A third
/// of the connection's window can be used up before it is opened again.
pub(super) const STREAMS: usize = (CONNECTION_WINDOW / STREAM_WINDOW / 3 * 2) as usize;
/// What one frame carries at most. Go's reverse proxy, which kube-aad-proxy is, copies 32 KiB at once.
const FRAME: u32 = 64 << 10;
/// Larger than any header list an apiserver takes.
const HEADER_LIST: u32 = 1 << 20;
/// Spawns hyper's own tasks where the pool can wait for them.
#[derive(Debug, Clone)]
pub(super) struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

pub(super) fn http2_builder(tasks: &TaskTracker) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADER_LIST)
        // A budget for the connection's whole life: watches that end would use it up in days.
        .max_local_error_reset_streams(None);
    builder
}

pub(super) fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADER_LIST as usize);
    builder
}

pub(super) fn for_http2<B>(request: &mut Request<B>, far_side: &FarSide) {
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

pub(super) fn for_http1<B>(request: &mut Request<B>, far_side: &FarSide) {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    if let Ok(host) = HeaderValue::from_str(far_side.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.version_mut() = Version::HTTP_11;
}
