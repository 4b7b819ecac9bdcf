//! An HTTP/2 tunnel, the count of its streams, and whether one of them fills it.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::{STREAMS, http2_builder};
use super::{Outgoing, Tunnel, lock};
use crate::tunnel::body::{Metered, Place};
use crate::tunnel::{FarSide, Io, TunnelError};

/// What one body has moved when it counts as bulk: behind more than this a small answer waits
/// longer than a tunnel of its own takes to open.
const BULK: usize = 1 << 20;

/// An HTTP/2 tunnel.
pub(super) struct Lane<B> {
    sender: http2::SendRequest<Metered<B>>,
    load: Arc<Load>,
    far_side: Arc<FarSide>,
}

/// What a lane carries.
#[derive(Debug)]
struct Load {
    streams: AtomicUsize,
    /// How many bodies are bulk.
    bulk: AtomicUsize,
    /// How many streams are taken: the peer's limit, as its settings last had it, and our own.
    limit: AtomicUsize,
    /// Since when there is no stream.
    idle: Mutex<Instant>,
}

impl<B: Outgoing> Lane<B> {
    /// Starts HTTP/2 over `stream`, with one request's stream taken. `lost` is called if the
    /// tunnel breaks.
    pub(super) async fn start(
        stream: Box<dyn Io>,
        far_side: Arc<FarSide>,
        tasks: &TaskTracker,
        lost: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, Stream), TunnelError> {
        let (sender, mut connection) = http2_builder(tasks).handshake(TokioIo::new(stream)).await?;
        let allowed = |limit: usize| limit.min(STREAMS);
        let load = Arc::new(Load {
            streams: AtomicUsize::new(1),
            bulk: AtomicUsize::new(0),
            limit: AtomicUsize::new(allowed(connection.current_max_send_streams())),
            idle: Mutex::new(Instant::now()),
        });
        let published = load.clone();
        // Ends when the tunnel breaks, or when nobody holds a sender or a body any more.
        tasks.spawn(async move {
            let driving = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                let limit = allowed(connection.current_max_send_streams());
                published.limit.store(limit, Ordering::Relaxed);
                polled
            });
            match driving.await {
                Ok(()) => tracing::debug!("tunnel ended"),
                Err(error) => {
                    tracing::info!(%error, "tunnel lost");
                    lost();
                }
            }
        });
        let first = Stream::of(&load);
        Ok((
            Self {
                sender,
                load,
                far_side,
            },
            first,
        ))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether a body fills the tunnel, behind which a small answer would wait.
    pub(super) fn is_bulk(&self) -> bool {
        self.load.bulk.load(Ordering::Relaxed) > 0
    }

    /// Since when it carries nothing, if that is so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.load.streams.load(Ordering::Relaxed) == 0).then(|| *lock(&self.load.idle))
    }

    /// Room for one more request, if the peer allows it.
    pub(super) fn stream(&self) -> Option<Stream> {
        let limit = self.load.limit.load(Ordering::Relaxed);
        self.load
            .streams
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < limit).then_some(open + 1)
            })
            .ok()
            .map(|_| Stream::of(&self.load))
    }

    /// The tunnel for the request that `stream` is for.
    pub(super) fn tunnel(&self, stream: Stream) -> Tunnel<B> {
        Tunnel::Http2(self.sender.clone(), stream, self.far_side.clone())
    }
}

/// One of a lane's streams.
#[derive(Debug)]
pub(super) struct Stream {
    traffic: Traffic,
}

/// What one body moves over a lane.
#[derive(Debug)]
pub(super) struct Traffic {
    load: Arc<Load>,
    moved: usize,
}

impl Stream {
    fn of(load: &Arc<Load>) -> Self {
        Self {
            traffic: Traffic::of(load),
        }
    }

    /// For the request's body, which moves beside the answer's.
    pub(super) fn upload(&self) -> Traffic {
        Traffic::of(&self.traffic.load)
    }
}

impl Traffic {
    fn of(load: &Arc<Load>) -> Self {
        Self {
            load: load.clone(),
            moved: 0,
        }
    }
}

impl Place for Stream {
    fn moved(&mut self, bytes: usize) {
        self.traffic.moved(bytes);
    }
}

impl Place for Traffic {
    fn moved(&mut self, bytes: usize) {
        let before = self.moved;
        self.moved = before.saturating_add(bytes);
        if before <= BULK && self.moved > BULK {
            self.load.bulk.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let load = &self.traffic.load;
        if load.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *lock(&load.idle) = Instant::now();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        if self.moved > BULK {
            self.load.bulk.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
