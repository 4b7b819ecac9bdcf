//! An HTTP/2 tunnel, the count of its streams, and whether one of them fills it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::{STREAMS, http2_builder};
use super::pinger::{Pinger, Wishes};
use super::turns::Turns;
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
/// How soon it has, and for how long it then counts: a watch moves as much in hours, and fills
/// nothing.
const SOON: Duration = Duration::from_secs(20);

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
    turns: Arc<Turns>,
    streams: AtomicUsize,
    /// How many requests wait for their answer to begin,
    waiting: AtomicUsize,
    /// and since when any does, in the pulse's microseconds.
    since: AtomicU64,
    /// Until when a body counts as bulk, in the pulse's microseconds; 0 where none does.
    bulk_until: AtomicU64,
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
            turns: wishes.turns().clone(),
            streams: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            bulk_until: AtomicU64::new(0),
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
        let until = self.load.bulk_until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let is_bulk = self.load.pulse.micros(Instant::now()) < until;
        if !is_bulk {
            self.load.calm(until);
        }
        is_bulk
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

    /// The body that counts as bulk up to `until` does so no more.
    fn calm(&self, until: u64) {
        // Another body's time stays if it was stored later; one stored earlier is back with that
        // body's next mebibyte.
        let _ = self
            .bulk_until
            .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
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
    /// How much has moved since a time.
    moved: usize,
    since: Instant,
    /// Until when it counts as bulk, or did.
    bulk_until: u64,
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

    /// Returns when its request may be sent.
    ///
    /// Cancel safe.
    pub(super) async fn turn(&self) {
        self.traffic.load.turns.next().await;
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
            since: load.pulse.heard(),
            bulk_until: 0,
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
        let pulse = &self.load.pulse;
        if self.moved == 0 {
            // Now, or not long ago: whoever moves a body hears of it.
            self.since = pulse.heard();
        }
        self.moved = self.moved.saturating_add(bytes);
        if self.moved > BULK {
            let now = Instant::now();
            if now - self.since <= SOON {
                self.bulk_until = pulse.micros(now + SOON);
                let until = &self.load.bulk_until;
                until.store(self.bulk_until, Ordering::Relaxed);
            }
            self.moved = 0;
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
        if self.bulk_until > 0 {
            self.load.calm(self.bulk_until);
        }
    }
}
