//! kube-aad-proxy: authenticates Entra callers and passes their requests to the apiserver as
//! impersonated ones.
//!
//! A caller with a proof-of-possession token is checked as the `guard` project's verifier checks,
//! in its order and with its messages. A token that Entra did not issue is none of the proxy's
//! business and goes to the apiserver untouched.
//!
//! A request that impersonates by itself (`kubectl --as`) is passed on with the caller's own
//! `Impersonate-*` headers once the caller is authenticated: in the emulator every Entra caller may
//! impersonate.

mod access_token;
mod authenticate;
mod cut;
mod forward;
mod jws;
mod pool;
mod pop;
mod status;
mod upstream;

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ServerConfig;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use upstream::Upstream;

use crate::door::Door;
use crate::faults::Faults;
use crate::serve::{Break, Http2, Service, Tls};
use crate::shape::Shaper;
use crate::tls;
use authenticate::Authenticator;
use pool::Pool;

/// The names in the proxy's certificate.
const NAMES: [&str; 5] = [
    "kube-aad-proxy",
    "kube-aad-proxy.azure-arc",
    "kube-aad-proxy.azure-arc.svc",
    "localhost",
    "127.0.0.1",
];

/// The flow-control windows, in bytes. A connection's is the larger by far, so that one stream
/// that nobody reads cannot stop the others.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// How many streams a client may have open: what Go's servers allow.
const MAX_STREAMS: u32 = 250;

/// Verifies the signatures of access tokens.
pub trait AccessTokenKeys: Send + Sync + Debug {
    /// Whether `signature` is the RS256 signature of `signing_input` by the key `kid`.
    fn verify(&self, kid: &str, signing_input: &[u8], signature: &[u8]) -> bool;
}

/// What a proxy needs.
#[derive(Debug)]
pub struct AadProxyConfig {
    /// Issues the proxy's certificate; an authority of its own.
    pub authority: Arc<tls::Authority>,
    /// The cluster's ARM id, which callers' tokens must name.
    pub cluster_id: String,
    /// The issuer of access tokens.
    pub issuer: String,
    /// The audience of access tokens.
    pub audience: String,
    /// The keys of access tokens.
    pub keys: Arc<dyn AccessTokenKeys>,
    /// The apiserver.
    pub upstream: Upstream,
    /// The faults to play, and the versions of HTTP that the next connection is offered.
    pub faults: Faults,
}

/// What a proxy has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AadProxySeen {
    /// Requests, refused ones included.
    pub requests: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Connections on which HTTP/2 was agreed.
    pub h2_connections: u64,
    /// Connections on which it was not.
    pub h1_connections: u64,
    /// Different proof-of-possession tokens that were accepted.
    pub pop_tokens: u64,
    /// Requests that went to the apiserver with their own token.
    pub passed_through: u64,
    /// Connections that were upgraded.
    pub upgrades: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    h2_connections: AtomicU64,
    h1_connections: AtomicU64,
    passed_through: AtomicU64,
    upgrades: AtomicU64,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    faults: Faults,
    authenticator: Authenticator,
    upstream: Upstream,
    counters: Counters,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A running kube-aad-proxy. Dropping it ends its connections.
#[derive(Debug)]
pub struct AadProxy {
    shared: Arc<Shared>,
    service: Service,
}

impl AadProxy {
    /// Starts a proxy on a free loopback port.
    pub async fn start(config: AadProxyConfig) -> io::Result<Self> {
        Self::start_with(config, MAX_STREAMS).await
    }

    /// Starts a proxy that allows `max_streams` at a time on each HTTP/2 connection.
    pub async fn start_with(config: AadProxyConfig, max_streams: u32) -> io::Result<Self> {
        let tls = config
            .authority
            .server_config(&NAMES, &["h2", "http/1.1"])
            .map_err(io::Error::other)?;
        let tls = offer(tls, config.faults.clone());
        let shared = Arc::new(Shared {
            faults: config.faults.clone(),
            upstream: config.upstream.clone(),
            authenticator: Authenticator::new(config),
            counters: Counters::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.close();
        let http2 = Http2 {
            stream_window: Some(STREAM_WINDOW),
            connection_window: Some(CONNECTION_WINDOW),
            max_streams: Some(max_streams),
            frame: None,
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let proxy = Arc::clone(&shared);
        let service = Service::start_each(any, tls, Shaper::default(), http2, move |connection| {
            let counter = if connection.alpn.as_deref() == Some(b"h2") {
                &proxy.counters.h2_connections
            } else {
                &proxy.counters.h1_connections
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let (proxy, pool) = (Arc::clone(&proxy), Arc::new(Pool::new(Arc::clone(&proxy))));
            move |request| forward::answer(Arc::clone(&proxy), Arc::clone(&pool), request)
        })
        .await?;
        Ok(Self { shared, service })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// A way to the proxy through memory.
    pub fn door(&self) -> Door {
        self.service.door()
    }

    /// Ends, in this way, the connections that are open now.
    pub fn break_connections(&self, how: Break) {
        self.service.break_connections(how);
    }

    /// What the proxy has seen.
    pub fn seen(&self) -> AadProxySeen {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AadProxySeen {
            requests: read(&counters.requests),
            refused: read(&counters.refused),
            h2_connections: read(&counters.h2_connections),
            h1_connections: read(&counters.h1_connections),
            pop_tokens: self.shared.authenticator.accepted(),
            passed_through: read(&counters.passed_through),
            upgrades: read(&counters.upgrades),
        }
    }

    /// Stops the proxy and waits until its connections have ended.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.service.stop().await;
        self.shared.tasks.wait().await;
    }
}

impl Drop for AadProxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// `both`, which offers either version of HTTP, without the one that `faults` withhold when a
/// connection begins. The certificate stays the same.
fn offer(both: ServerConfig, faults: Faults) -> Tls {
    let only = |name: &[u8]| {
        let mut tls = both.clone();
        tls.alpn_protocols = vec![name.to_vec()];
        Arc::new(tls)
    };
    let (h2, http1, both) = (only(b"h2"), only(b"http/1.1"), Arc::new(both));
    Tls::chosen(move || {
        let set = faults.now();
        let config = match (set.no_h2, set.no_http1) {
            (true, _) => &http1,
            (false, true) => &h2,
            (false, false) => &both,
        };
        Arc::clone(config)
    })
}
