//! Azure Resource Manager: one tenant's subscriptions and the connected clusters in them.
//!
//! Follows the public specifications of `Microsoft.Kubernetes` and of ARM's common errors. It
//! checks tokens and roles and hands out relay credentials; what these open is left to the relay.

mod access;
mod credentials;
mod error;
mod fleet;
mod metadata;
mod paging;
mod routes;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;

pub use self::fleet::{Cluster, Condition, DEMO_GROUP, FACTORIES_GROUP, RELAY, fleet};

use crate::certificates;
use crate::entra::Entra;
use crate::faults::Faults;
use crate::names::Names;
use crate::relay::Relay;
use crate::serve::Service;
use crate::shape::Shaper;
use crate::tls::Authority;

/// What ARM's tokens are for by default, as its clients write it.
pub const AUDIENCE: &str = "https://management.core.windows.net/";

/// What ARM is started with.
#[derive(Debug)]
pub struct ArmConfig {
    /// The authority of the certificate that it serves with.
    pub authority: Arc<Authority>,
    /// The faults that it plays.
    pub faults: Faults,
    /// The path to it.
    pub shaper: Shaper,
    /// Where ids come from.
    pub names: Names,
    /// Whose tokens it takes.
    pub entra: Arc<Entra>,
    /// The relay whose credentials it gives out.
    pub relay: Arc<Relay>,
    /// The certificate, PEM, of the authority of every kube-aad-proxy.
    pub proxy_ca: String,
}

/// A running ARM.
#[derive(Debug)]
pub struct Arm {
    state: Arc<State>,
    service: Service,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: &'static str,
}

/// What happened at ARM so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ArmSeen {
    /// All requests.
    pub requests: u64,
    /// Answers by operation, refused ones included.
    pub operations: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
}

impl Arm {
    /// Starts ARM.
    ///
    /// # Errors
    ///
    /// When its certificate cannot be made or no port can be had.
    pub async fn start(config: ArmConfig) -> io::Result<Self> {
        let ArmConfig {
            authority,
            faults,
            shaper,
            names,
            entra,
            relay,
            proxy_ca,
        } = config;
        let subscriptions = subscriptions(names);
        let other = Authority::new("ca").map_err(io::Error::other)?;
        let state = Arc::new(State {
            clusters: fleet(names, &subscriptions[0].id),
            subscriptions,
            tenant: entra.tenant(),
            // A wildcard certificate needs two labels after its star.
            relay_suffix: format!("servicebus.localhost:{}", relay.address().port()),
            names,
            faults,
            entra,
            relay,
            proxy_ca,
            other_ca: other.pem().to_owned(),
            connections: AtomicU64::new(0),
            seen: Mutex::default(),
            context: Mutex::default(),
            url: OnceLock::new(),
        });
        let tls = certificates::server_config(authority, &["h2", "http/1.1"])
            .map_err(io::Error::other)?;
        let serving = Arc::clone(&state);
        let service = Service::start(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls,
            shaper,
            move |request| routes::answer(Arc::clone(&serving), request),
        )
        .await?;
        let url = format!("https://localhost:{}", service.address().port());
        state.entra.add_resource(&url);
        state.url.get_or_init(|| url);
        Ok(Self { state, service })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// Its address as clients write it, without a slash at its end.
    pub fn url(&self) -> &str {
        self.state.url()
    }

    /// The subscriptions, the first of which has all groups and clusters.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.state.subscriptions
    }

    /// Every cluster.
    pub fn clusters(&self) -> &[Cluster] {
        &self.state.clusters
    }

    /// What follows `<relay>.` in the relay's addresses.
    pub fn relay_suffix(&self) -> &str {
        &self.state.relay_suffix
    }

    /// What happened so far.
    pub fn seen(&self) -> ArmSeen {
        self.state
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Wants tokens to show the authentication context `context`, as conditional access has it, or
    /// none.
    pub fn require_context(&self, context: Option<&str>) {
        let mut required = self
            .state
            .context
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *required = context.map(str::to_owned);
    }

    /// Stops it.
    pub async fn stop(&self) {
        self.service.stop().await;
    }
}

/// The subscriptions that every emulator has.
pub fn subscriptions(names: Names) -> [Subscription; 2] {
    ["Contoso Edge", "Contoso Sandbox"].map(|name| Subscription {
        id: names.guid(&format!("subscription/{name}")),
        name,
    })
}

/// What the endpoints share.
#[derive(Debug)]
struct State {
    subscriptions: [Subscription; 2],
    clusters: Vec<Cluster>,
    tenant: String,
    relay_suffix: String,
    names: Names,
    faults: Faults,
    entra: Arc<Entra>,
    relay: Arc<Relay>,
    proxy_ca: String,
    other_ca: String,
    connections: AtomicU64,
    seen: Mutex<ArmSeen>,
    context: Mutex<Option<String>>,
    url: OnceLock<String>,
}

impl State {
    /// Its own address; empty until it listens.
    fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }

    /// The audiences that its tokens may have.
    fn audiences(&self) -> Vec<String> {
        let plain = [
            "https://management.core.windows.net",
            "https://management.azure.com",
            self.url(),
        ];
        plain
            .iter()
            .flat_map(|audience| [format!("{audience}/"), (*audience).to_owned()])
            .collect()
    }

    /// The authentication context that tokens have to show.
    fn context(&self) -> Option<String> {
        self.context
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The authority that the credentials of `cluster` carry.
    fn proxy_ca(&self, cluster: &Cluster) -> &str {
        match cluster.condition {
            Condition::BadCertificate => &self.other_ca,
            _ => &self.proxy_ca,
        }
    }

    /// The number at the end of the next hybrid connection's name: 19 digits that grow.
    fn next_connection(&self, now: u64) -> u64 {
        const PER_SECOND: u64 = 1_000_000_000;
        let count = self.connections.fetch_add(1, Ordering::Relaxed);
        now.wrapping_mul(PER_SECOND)
            .wrapping_add(count % PER_SECOND)
    }

    fn count(&self, operation: &str, status: u16) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        *seen.operations.entry(operation.to_owned()).or_default() += 1;
        *seen.statuses.entry(status).or_default() += 1;
    }
}
