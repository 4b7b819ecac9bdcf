//! The connections to the apiserver that serve one connection from a client.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::upstream::{Protocol, Stream};
use super::{CONNECTION_WINDOW, STREAM_WINDOW, Shared};
use crate::http::Body;

/// How many streams are put on one HTTP/2 connection. Watches never end, and the apiserver queues
/// what is beyond its own limit without a word.
const STREAMS: usize = 100;

/// What the apiserver may put into one frame, in bytes. Frames go on as they come: like those of
/// Go's reverse proxy, which copies 32 KiB at once.
const FRAME: u32 = 32 << 10;

/// How many idle HTTP/1.1 connections are kept.
const IDLE: usize = 32;

type Http1 = http1::SendRequest<Incoming>;

/// An HTTP/2 connection and how many streams are open on it.
#[derive(Debug, Clone)]
struct Http2 {
    sender: http2::SendRequest<Incoming>,
    open: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Connections {
    http2: Vec<Http2>,
    idle: Vec<Http1>,
}

/// Connections to the apiserver.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    connections: Arc<Mutex<Connections>>,
    /// Held while connecting, so that many first requests share one connection.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection that is ready for one request.
enum Ready {
    Http1(Http1),
    Http2(Http2, Lease),
}

impl Pool {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            connections: Arc::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Sends `request` and returns the answer as soon as its head is there.
    pub(super) async fn send(&self, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
        loop {
            let (ready, reused) = match self.take().await {
                Some(ready) => (ready, true),
                None => match self.connect().await? {
                    Some(ready) => (ready, false),
                    None => continue,
                },
            };
            let unsent = match ready {
                Ready::Http1(mut sender) => {
                    self.shared.upstream.address(&mut request, Protocol::Http1);
                    match sender.try_send_request(request).await {
                        Ok(response) => {
                            let lease = Lease::Http1(Some(sender), Arc::clone(&self.connections));
                            return Ok(leased(response, lease));
                        }
                        Err(error) => error,
                    }
                }
                Ready::Http2(mut http2, lease) => {
                    self.shared.upstream.address(&mut request, Protocol::Http2);
                    match http2.sender.try_send_request(request).await {
                        Ok(response) => return Ok(leased(response, lease)),
                        Err(error) => error,
                    }
                }
            };
            let mut unsent = unsent;
            // A kept connection may have ended in the meantime; a fresh one had its chance.
            match unsent.take_message() {
                Some(back) if reused => request = back,
                _ => return Err(io::Error::other(unsent.into_error())),
            }
        }
    }

    /// Takes a connection that is there.
    async fn take(&self) -> Option<Ready> {
        loop {
            let mut idle = {
                let mut connections = lock(&self.connections);
                connections.http2.retain(|http2| !http2.sender.is_closed());
                for http2 in &connections.http2 {
                    if http2.open.load(Ordering::Relaxed) < STREAMS {
                        let lease = Lease::http2(&http2.open);
                        return Some(Ready::Http2(http2.clone(), lease));
                    }
                }
                connections.idle.pop()?
            };
            if idle.ready().await.is_ok() {
                return Some(Ready::Http1(idle));
            }
        }
    }

    /// Makes a connection; `None` if another request has made one that can be shared.
    async fn connect(&self) -> io::Result<Option<Ready>> {
        let connecting = self.connecting.lock().await;
        let shareable = |http2: &Http2| {
            !http2.sender.is_closed() && http2.open.load(Ordering::Relaxed) < STREAMS
        };
        if lock(&self.connections).http2.iter().any(shareable) {
            return Ok(None);
        }
        let (stream, protocol) = self.shared.upstream.connect(&["h2", "http/1.1"]).await?;
        match protocol {
            Protocol::Http2 => {
                let http2 = self.handshake_http2(stream).await?;
                let lease = Lease::http2(&http2.open);
                lock(&self.connections).http2.push(http2.clone());
                Ok(Some(Ready::Http2(http2, lease)))
            }
            Protocol::Http1 => {
                // Nothing to share: others may connect while this one shakes hands.
                drop(connecting);
                let (sender, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
                self.drive(connection);
                Ok(Some(Ready::Http1(sender)))
            }
        }
    }

    async fn handshake_http2(&self, stream: Stream) -> io::Result<Http2> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        self.drive(connection);
        Ok(Http2 {
            sender,
            open: Arc::default(),
        })
    }

    /// Runs a connection until nobody uses it any more, or until the proxy stops.
    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection to the apiserver ended");
                },
            }
        });
    }
}

fn lock(connections: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The use of a connection by one request, until the answer's body has ended.
#[derive(Debug)]
enum Lease {
    Http1(Option<Http1>, Arc<Mutex<Connections>>),
    Http2(Arc<AtomicUsize>),
}

impl Lease {
    fn http2(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self::Http2(Arc::clone(open))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self {
            Self::Http1(sender, connections) => {
                let Some(sender) = sender.take().filter(|sender| !sender.is_closed()) else {
                    return;
                };
                let mut connections = lock(connections);
                if connections.idle.len() < IDLE {
                    connections.idle.push(sender);
                }
            }
            Self::Http2(open) => {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn leased(response: Response<Incoming>, lease: Lease) -> Response<Body> {
    response.map(|body| {
        Leased {
            body,
            _lease: lease,
        }
        .map_err(Into::into)
        .boxed_unsync()
    })
}

/// A body that holds its connection.
#[derive(Debug)]
struct Leased {
    body: Incoming,
    _lease: Lease,
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
