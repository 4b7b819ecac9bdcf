//! Azure Relay: hybrid connections over WebSocket, the sender's side and the listener's.
//!
//! Follows the public "Azure Relay Hybrid Connections protocol" guide. A sender's dial is
//! announced to a listener over its control channel; the listener meets the sender at a rendezvous
//! address of the relay, and from then on frames pass between the two unread. Hybrid HTTP
//! requests, which cluster connect does not use, are left out.

mod address;
mod counters;
mod listener;
mod refusal;
mod registry;
mod sas;
mod sender;
mod tunnel;
pub(crate) mod websocket;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use counters::RelaySeen;

use crate::certificates;
use crate::door::Door;
use crate::faults::Faults;
use crate::http::{Body, empty};
use crate::serve::{Away, Connection, Service};
use crate::shape::Shaper;
use crate::tls;
use address::{Action, Address};
use counters::Counters;
use refusal::{Refusal, Tracking};
use registry::Registry;
use sas::{Keys, Right};

/// What a relay needs.
#[derive(Debug)]
pub struct RelayConfig {
    /// Issues the relay's certificate.
    pub authority: Arc<tls::Authority>,
    /// The faults to play.
    pub faults: Faults,
    /// The path under connections from outside.
    pub shaper: Shaper,
}

/// How long the relay waits; the default is what Azure documents.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a listener may take to meet a sender.
    pub rendezvous: Duration,
    /// How long a tunnel may be without a frame from either side.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rendezvous: Duration::from_secs(30),
            idle: Duration::from_mins(2),
        }
    }
}

/// How to end the tunnels that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With a close frame of this code, to both sides.
    Close(u16),
    /// With a TCP reset, to both sides.
    Reset,
    /// Not at all: they stay open, and nothing comes through or is answered any more.
    BlackHole,
    /// Within the next frame, whose head announces more than follows.
    InFrame,
    /// Within the next message, such as a TLS record or several: the frames are whole, and then
    /// there is a TCP reset.
    InMessage,
}

/// A running relay. Dropping it ends everything that it serves.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    outside: Service,
    inside: Service,
}

/// A cut, and how many tunnels it may still end.
#[derive(Debug, Clone)]
struct Order {
    cut: Cut,
    left: Arc<AtomicUsize>,
}

impl Order {
    fn new(cut: Cut, tunnels: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(tunnels));
        Self { cut, left }
    }

    /// The cut, for a tunnel that is among those it may end.
    fn take(&self) -> Option<Cut> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        taken.is_ok().then_some(self.cut)
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    keys: Keys,
    registry: Arc<Registry>,
    counters: Counters,
    faults: Faults,
    limits: Limits,
    cuts: watch::Sender<Option<Order>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Relay {
    /// Starts a relay on a free loopback port; it serves every namespace, told apart by the first
    /// label of the host that a request names.
    pub async fn start(config: RelayConfig) -> io::Result<Arc<Self>> {
        Self::start_with(config, Limits::default()).await
    }

    /// Starts a relay with limits of its own.
    pub async fn start_with(config: RelayConfig, limits: Limits) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            keys: Keys::new(),
            registry: Arc::default(),
            counters: Counters::default(),
            faults: config.faults,
            limits,
            cuts: watch::Sender::new(None),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.close();
        let outside = Self::serve(&shared, &config.authority, config.shaper).await?;
        let inside = Self::serve(&shared, &config.authority, Shaper::default()).await?;
        let following = Arc::clone(&shared).follow(outside.away());
        Arc::clone(&shared).spawn(following);
        Ok(Arc::new(Self {
            shared,
            outside,
            inside,
        }))
    }

    async fn serve(
        shared: &Arc<Shared>,
        authority: &Arc<tls::Authority>,
        shaper: Shaper,
    ) -> io::Result<Service> {
        let tls = certificates::server_config(Arc::clone(authority), &["http/1.1"])
            .map_err(io::Error::other)?;
        let shared = Arc::clone(shared);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Service::start(any, tls, shaper, move |request| {
            Arc::clone(&shared).answer(request)
        })
        .await
    }

    /// Where clients from outside reach the relay.
    pub fn address(&self) -> SocketAddr {
        self.outside.address()
    }

    /// Where the emulated cluster's agent reaches the same relay, with no path shaping between.
    pub fn agent_door(&self) -> Door {
        self.inside.door()
    }

    /// Creates, or finds, the hybrid connection `path` in `namespace`, which is served by whoever
    /// listens on `listener_path`.
    pub fn create(&self, namespace: &str, path: &str, listener_path: &str) {
        self.shared.registry.create(namespace, path, listener_path);
    }

    /// Deletes the hybrid connection `path`: dials are refused, and open tunnels are closed.
    pub fn remove(&self, namespace: &str, path: &str) {
        self.shared.registry.remove(namespace, path);
    }

    /// A token that opens `path` to senders until `expires_unix`, seconds since 1970.
    pub fn sender_token(&self, namespace: &str, path: &str, expires_unix: u64) -> String {
        self.shared
            .keys
            .token(Right::Send, namespace, path, expires_unix)
    }

    /// A token that opens `path` to listeners until `expires_unix`, seconds since 1970.
    pub fn listener_token(&self, namespace: &str, path: &str, expires_unix: u64) -> String {
        self.shared
            .keys
            .token(Right::Listen, namespace, path, expires_unix)
    }

    /// Ends all tunnels that are open now; new dials are not touched.
    pub fn drop_tunnels(&self, cut: Cut) {
        self.shared.cut(Order::new(cut, usize::MAX));
    }

    /// Ends one of the tunnels that are open now, whichever it is.
    pub fn drop_tunnel(&self, cut: Cut) {
        self.shared.cut(Order::new(cut, 1));
    }

    /// What the relay has seen.
    pub fn seen(&self) -> RelaySeen {
        let listeners = self.shared.registry.listener_count();
        self.shared.counters.seen(listeners as u64)
    }

    /// Stops the relay and waits until everything that it served has ended.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.outside.stop().await;
        self.inside.stop().await;
        self.shared.tasks.wait().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// Goes away and comes back as the faults want it.
    async fn follow(self: Arc<Self>, away: Away) {
        let mut faults = self.faults.watch();
        let following = async {
            loop {
                let is_away = faults.borrow_and_update().relay_away;
                away.set(is_away);
                if is_away {
                    self.cut(Order::new(Cut::Reset, usize::MAX));
                }
                if faults.changed().await.is_err() {
                    return;
                }
            }
        };
        self.stop.run_until_cancelled(following).await;
    }

    fn cut(&self, order: Order) {
        self.cuts.send_replace(Some(order));
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if self.faults.now().relay_away {
            // Only the agent, whose way leads past the sockets, comes so far.
            let mut answer = Response::new(empty());
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return answer;
        }
        let address = match Address::of(&request) {
            Ok(address) => address,
            Err(malformed) => {
                let path = request.uri().path().trim_matches('/');
                let tracking = Tracking::new(None, "relay", path, self.faults.cloud_time());
                return Refusal::from_malformed(malformed).response(&tracking);
            }
        };
        let tracking = Tracking::new(
            address.id.as_deref(),
            &address.host,
            &address.path,
            self.faults.cloud_time(),
        );
        let answer = match address.action {
            Action::Connect => {
                let connection = request.extensions().get::<Connection>();
                let resumed = connection.is_some_and(|connection| connection.resumed);
                self.counters.dial(resumed);
                let answer = sender::connect(&self, request, &address, &tracking).await;
                if answer.is_err() {
                    self.counters.refused();
                }
                answer
            }
            Action::Listen => listener::listen(&self, request, &address, &tracking),
            Action::Accept => listener::accept(&self, request, &address),
        };
        answer.unwrap_or_else(|refusal| refusal.response(&tracking))
    }

    fn spawn(self: Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}
