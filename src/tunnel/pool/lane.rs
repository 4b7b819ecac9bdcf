//! An HTTP/2 tunnel, the count of its streams, and whether one of them fills it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::{STREAMS, http2_builder};
use super::pinger::{Pinger, Wishes};
use super::watchdog::Watchdog;
use super::{Outgoing, Tunnel, lock};
use crate::tunnel::body::Place;
use crate::tunnel::open::Opened;
use crate::tunnel::pulse::Pulse;
use crate::tunnel::upload::Upload;
use crate::tunnel::{FarSide, TunnelError};

/// What one body has moved when it counts as bulk: behind more than this a small answer waits
/// longer than a tunnel of its own takes to open.
const BULK: usize = 1 << 20;

/// An HTTP/2 tunnel.
pub(super) struct Lane<B> {
    sender: http2::SendRequest<Upload<B>>,
    load: Arc<Load>,
    far_side: Arc<FarSide>,
}

/// What a lane carries.
#[derive(Debug)]
pub(super) struct Load {
    pulse: Arc<Pulse>,
    streams: AtomicUsize,
    /// How many requests wait for their answer to begin,
    waiting: AtomicUsize,
    /// and since when any does, in the pulse's microseconds.
    since: AtomicU64,
    /// How many bodies are bulk.
    bulk: AtomicUsize,
    /// How many streams are taken: the peer's limit, as its settings last had it, and our own.
    limit: AtomicUsize,
    /// Since when there is no stream.
    idle: Mutex<Instant>,
}

impl<B: Outgoing> Lane<B> {
    /// Starts HTTP/2 over what has been opened, with one request's stream taken. `lost` is called
    /// when the tunnel breaks, and when it comes into doubt.
    pub(super) async fn start(
        opened: Opened,
        tasks: &TaskTracker,
        lost: impl Fn() + Clone + Send + 'static,
    ) -> Result<(Self, Stream), TunnelError> {
        let Opened {
            stream,
            far_side,
            pulse,
            round_trip,
            ..
        } = opened;
        let wishes = Arc::new(Wishes::default());
        let io = TokioIo::new(Pinger::new(stream, wishes.clone(), pulse.clone()));
        let (sender, mut connection) = http2_builder(tasks).handshake(io).await?;
        let allowed = |limit: usize| limit.min(STREAMS);
        let load = Arc::new(Load {
            pulse: pulse.clone(),
            streams: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            bulk: AtomicUsize::new(0),
            limit: AtomicUsize::new(allowed(connection.current_max_send_streams())),
            idle: Mutex::new(Instant::now()),
        });
        let published = load.clone();
        let gone = wishes.gone().clone();
        let mut watchdog = Watchdog::new(pulse, wishes, load.clone(), round_trip, lost.clone());
        // Ends when the tunnel breaks, or when nobody holds a sender or a body any more.
        tasks.spawn(async move {
            let driving = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                let limit = allowed(connection.current_max_send_streams());
                published.limit.store(limit, Ordering::Relaxed);
                if polled.is_pending() {
                    watchdog.poll(cx);
                }
                polled
            });
            match driving.await {
                Ok(()) => tracing::debug!("tunnel ended"),
                Err(error) => {
                    tracing::info!(%error, "tunnel lost");
                    lost();
                }
            }
            drop(connection);
            // A far side that goes away takes no more requests, and may still answer those it has.
            let guarding = std::future::poll_fn(|cx| {
                watchdog.poll(cx);
                Poll::<()>::Pending
            });
            gone.run_until_cancelled(guarding).await;
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

    /// Its far side's signs of life.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.load.pulse
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

impl Load {
    /// Since when a request has been waiting for its answer to begin, or since an earlier time
    /// when another one was, without a moment in between when none was.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        (self.waiting.load(Ordering::Relaxed) > 0)
            .then(|| self.pulse.instant(self.since.load(Ordering::Relaxed)))
    }
}

/// A request that waits for its answer to begin.
pub(super) struct Waiting<'a>(&'a Load);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
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

    /// The far side's signs of life.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.traffic.load.pulse
    }

    /// Says that its request waits for the answer to begin, until that is dropped.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let load = &*self.traffic.load;
        if load.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            let now = load.pulse.micros(Instant::now());
            load.since.store(now, Ordering::Relaxed);
        }
        Waiting(load)
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
