//! An HTTP/2 tunnel and the count of its streams.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::connection::http2_builder;
use super::{Outgoing, Tunnel};
use crate::tunnel::body::Place;
use crate::tunnel::{FarSide, Io, TunnelError};

/// An HTTP/2 tunnel.
pub(super) struct Lane<B> {
    sender: http2::SendRequest<B>,
    streams: Arc<AtomicUsize>,
    /// The peer's stream limit, as its settings last had it.
    limit: Arc<AtomicUsize>,
    far_side: Arc<FarSide>,
}

impl<B: Outgoing> Lane<B> {
    /// Starts HTTP/2 over `stream`, with one request's stream taken.
    pub(super) async fn start(
        stream: Box<dyn Io>,
        far_side: Arc<FarSide>,
        tasks: &TaskTracker,
    ) -> Result<(Self, Stream), TunnelError> {
        let (sender, mut connection) = http2_builder(tasks).handshake(TokioIo::new(stream)).await?;
        let limit = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let published = limit.clone();
        // Ends when the tunnel breaks, or when nobody holds a sender or a body any more.
        tasks.spawn(async move {
            let driving = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                published.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            match driving.await {
                Ok(()) => tracing::debug!("tunnel ended"),
                Err(error) => tracing::info!(%error, "tunnel lost"),
            }
        });
        let streams = Arc::new(AtomicUsize::new(1));
        let first = Stream(streams.clone());
        Ok((
            Self {
                sender,
                streams,
                limit,
                far_side,
            },
            first,
        ))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Room for one more request, if the peer allows it.
    pub(super) fn stream(&self) -> Option<Stream> {
        let limit = self.limit.load(Ordering::Relaxed);
        self.streams
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < limit).then_some(open + 1)
            })
            .ok()
            .map(|_| Stream(self.streams.clone()))
    }

    /// The tunnel for the request that `stream` is for.
    pub(super) fn tunnel(&self, stream: Stream) -> Tunnel<B> {
        Tunnel::Http2(self.sender.clone(), stream, self.far_side.clone())
    }
}

/// One of a lane's streams.
#[derive(Debug)]
pub(super) struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place for Stream {}
