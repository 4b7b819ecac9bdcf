//! All parts together: starting them in order, handing them out, stopping them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::aad_proxy::{AadProxy, AadProxyConfig, AadProxySeen, Upstream};
use crate::agent::{Agent, AgentConfig, AgentSeen, Dialect};
use crate::apiserver::{ApiServer, ApiServerConfig};
use crate::arm::{self, Arm, ArmConfig, ArmSeen, Cluster, RELAY};
use crate::control::Control;
use crate::entra::{DemoApp, Entra, EntraConfig, EntraSeen, SERVER_APP};
use crate::faults::{FaultSet, Faults};
use crate::files::Files;
use crate::names::Names;
use crate::relay::{Relay, RelayConfig, RelaySeen};
use crate::shape::Shaper;
use crate::tls::{self, Authority};
use crate::upstream;

/// The cluster that works and that examples speak of.
pub const DEMO_CLUSTER: &str = "edge-demo";

/// An agent's token to listen with lives this many seconds.
pub(crate) const LISTENER_TOKEN_SECONDS: u64 = 3_600;

/// Why an emulator does not start.
#[derive(Debug)]
pub enum Error {
    /// A part could not start, or a file could not be written.
    Io(io::Error),
    /// A certificate could not be made.
    Tls(tls::Error),
    /// The kubeconfig of the real cluster is of no use.
    Upstream(upstream::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot start: {error}"),
            Self::Tls(error) => write!(f, "cannot make a certificate: {error}"),
            Self::Upstream(error) => write!(f, "cannot use the upstream kubeconfig: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<tls::Error> for Error {
    fn from(error: tls::Error) -> Self {
        Self::Tls(error)
    }
}

/// How an emulator is to be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    seed: u64,
    dialect: Dialect,
    h2: bool,
    http1: bool,
    faults: FaultSet,
    upstream: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            seed: 1,
            dialect: Dialect::Raw,
            h2: true,
            http1: true,
            faults: FaultSet::default(),
            upstream: None,
        }
    }
}

impl Builder {
    /// Where all ids and names come from; keys and secrets are new on every run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How the agent speaks inside a relay stream.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Whether kube-aad-proxy offers HTTP/2.
    pub fn h2(mut self, offer: bool) -> Self {
        self.h2 = offer;
        self
    }

    /// Whether kube-aad-proxy offers HTTP/1.1.
    pub fn http1(mut self, offer: bool) -> Self {
        self.http1 = offer;
        self
    }

    /// The faults in force from the start.
    pub fn faults(mut self, faults: FaultSet) -> Self {
        self.faults = faults;
        self
    }

    /// Puts the cluster of a kubeconfig behind kube-aad-proxy instead of the built-in apiserver.
    pub fn upstream(mut self, kubeconfig: Option<PathBuf>) -> Self {
        self.upstream = kubeconfig;
        self
    }

    /// Starts every part; when this returns, all listen.
    ///
    /// Cancel safe: what had started is stopped.
    pub async fn start(self) -> Result<Emulator, Error> {
        let authority = Arc::new(Authority::new("arc-emulator")?);
        let proxy_authority = Arc::new(Authority::new("ca")?);
        let faults = Faults::new(self.faults.clone());
        let shaper = Shaper::new(faults.clone());
        let names = Names::new(self.seed);
        let entra = Arc::new(
            Entra::start(EntraConfig {
                authority: Arc::clone(&authority),
                faults: faults.clone(),
                shaper: shaper.clone(),
                names,
            })
            .await?,
        );
        let relay = Relay::start(RelayConfig {
            authority: Arc::clone(&authority),
            faults: faults.clone(),
            shaper: shaper.clone(),
        })
        .await?;
        let arm = Arm::start(ArmConfig {
            authority: Arc::clone(&authority),
            faults: faults.clone(),
            shaper,
            names,
            entra: Arc::clone(&entra),
            relay: Arc::clone(&relay),
            proxy_ca: proxy_authority.pem().to_owned(),
        })
        .await?;
        let (apiserver, upstream) = self.cluster().await?;
        let mut sites = BTreeMap::new();
        for cluster in arm.clusters() {
            relay.create(RELAY, &cluster.listener_path, &cluster.listener_path);
            if cluster.has_agent() {
                let gear = Gear {
                    authority: &authority,
                    proxy_authority: &proxy_authority,
                    entra: &entra,
                    relay: &relay,
                    faults: &faults,
                    upstream: &upstream,
                };
                sites.insert(cluster.name.clone(), self.site(cluster, &gear).await?);
            }
        }
        let files = Files::write(&entra, &arm, &authority, apiserver.as_ref())?;
        let parts = Arc::new(Parts {
            faults,
            entra,
            arm,
            relay,
            sites,
            apiserver,
        });
        let control = Control::start(Arc::clone(&parts)).await?;
        Ok(Emulator {
            parts,
            control,
            files,
            authority,
            upstream: self.upstream,
        })
    }

    /// The cluster that everything leads to.
    async fn cluster(&self) -> Result<(Option<ApiServer>, Upstream), Error> {
        if let Some(kubeconfig) = &self.upstream {
            let upstream = upstream::read(kubeconfig).map_err(Error::Upstream)?;
            return Ok((None, upstream));
        }
        let config = ApiServerConfig {
            seed: self.seed,
            ..ApiServerConfig::default()
        };
        let apiserver = ApiServer::start(config).await?;
        let upstream = Upstream {
            url: apiserver.url().parse().map_err(io::Error::other)?,
            tls: apiserver.authority().client_config(&["h2", "http/1.1"])?,
            authorization: Some(format!("Bearer {}", apiserver.impersonator_token())),
        };
        Ok((Some(apiserver), upstream))
    }

    /// What runs inside one cluster.
    async fn site(&self, cluster: &Cluster, gear: &Gear<'_>) -> Result<Site, Error> {
        let aad_proxy = AadProxy::start(AadProxyConfig {
            authority: Arc::clone(gear.proxy_authority),
            cluster_id: cluster.id.clone(),
            issuer: gear.entra.issuer(),
            audience: SERVER_APP.to_owned(),
            keys: gear.entra.keys(),
            offer_h2: self.h2,
            offer_http1: self.http1,
            upstream: gear.upstream.clone(),
            faults: gear.faults.clone(),
        })
        .await?;
        let (relay, faults, path) = (
            Arc::clone(gear.relay),
            gear.faults.clone(),
            cluster.listener_path.clone(),
        );
        let agent = Agent::start(AgentConfig {
            relay: gear.relay.address(),
            namespace: RELAY.to_owned(),
            path: cluster.listener_path.clone(),
            tls: gear.authority.client_config(&["http/1.1"])?,
            dialect: self.dialect,
            target: aad_proxy.address(),
            faults: gear.faults.clone(),
            token: Arc::new(move || {
                relay.listener_token(RELAY, &path, faults.cloud_time() + LISTENER_TOKEN_SECONDS)
            }),
        })
        .await?;
        Ok(Site { aad_proxy, agent })
    }
}

/// What a site is made with.
struct Gear<'a> {
    authority: &'a Arc<Authority>,
    proxy_authority: &'a Arc<Authority>,
    entra: &'a Arc<Entra>,
    relay: &'a Arc<Relay>,
    faults: &'a Faults,
    upstream: &'a Upstream,
}

/// What runs inside one cluster.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) aad_proxy: AadProxy,
    pub(crate) agent: Agent,
}

/// Every part.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) faults: Faults,
    pub(crate) entra: Arc<Entra>,
    pub(crate) arm: Arm,
    pub(crate) relay: Arc<Relay>,
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) apiserver: Option<ApiServer>,
}

/// What happened in every part so far.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// At Entra.
    pub entra: EntraSeen,
    /// At ARM.
    pub arm: ArmSeen,
    /// At the relay.
    pub relay: RelaySeen,
    /// In each cluster's agent.
    pub agents: BTreeMap<String, AgentSeen>,
    /// In each cluster's kube-aad-proxy.
    pub aad_proxies: BTreeMap<String, AadProxySeen>,
}

impl Parts {
    pub(crate) fn seen(&self) -> Seen {
        let agents = self.sites.iter();
        let aad_proxies = self.sites.iter();
        Seen {
            entra: self.entra.seen(),
            arm: self.arm.seen(),
            relay: self.relay.seen(),
            agents: agents
                .map(|(name, site)| (name.clone(), site.agent.seen()))
                .collect(),
            aad_proxies: aad_proxies
                .map(|(name, site)| (name.clone(), site.aad_proxy.seen()))
                .collect(),
        }
    }
}

/// A running emulator. Dropping it stops every part without waiting.
#[derive(Debug)]
pub struct Emulator {
    control: Control,
    parts: Arc<Parts>,
    files: Files,
    authority: Arc<Authority>,
    upstream: Option<PathBuf>,
}

impl Emulator {
    /// Starts describing an emulator.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.parts.faults
    }

    /// Entra.
    pub fn entra(&self) -> &Entra {
        &self.parts.entra
    }

    /// ARM.
    pub fn arm(&self) -> &Arm {
        &self.parts.arm
    }

    /// The relay.
    pub fn relay(&self) -> &Relay {
        &self.parts.relay
    }

    /// The demo cluster's kube-aad-proxy.
    pub fn aad_proxy(&self) -> &AadProxy {
        &self.demo().aad_proxy
    }

    /// The demo cluster's agent.
    pub fn agent(&self) -> &Agent {
        &self.demo().agent
    }

    /// The agent of the cluster of that name, if it has one.
    pub fn agent_of(&self, cluster: &str) -> Option<&Agent> {
        self.parts.sites.get(cluster).map(|site| &site.agent)
    }

    /// The kube-aad-proxy of the cluster of that name, if it has one.
    pub fn aad_proxy_of(&self, cluster: &str) -> Option<&AadProxy> {
        self.parts.sites.get(cluster).map(|site| &site.aad_proxy)
    }

    /// The apiserver, unless a real cluster stands in its place.
    pub fn apiserver(&self) -> Option<&ApiServer> {
        self.parts.apiserver.as_ref()
    }

    /// The environment in which a client reaches the emulator as the demo app.
    pub fn env(&self) -> Vec<(String, String)> {
        let demo = self.entra().credentials(DemoApp::Demo);
        let path = |path: &Path| path.display().to_string();
        let mut env = vec![
            ("AZURE_TENANT_ID", self.tenant()),
            ("AZURE_CLIENT_ID", demo.client_id),
            ("AZURE_CLIENT_SECRET", demo.client_secret),
            ("AZURE_SUBSCRIPTION_ID", self.subscription()),
            ("ARCPROXY_CLOUD", path(self.cloud_file())),
            ("ARC_EMULATOR_CONTROL", self.control_url().to_owned()),
        ];
        if let Some(apiserver) = self.apiserver() {
            env.push(("ARC_EMULATOR_SA_TOKEN", apiserver.service_account_token()));
        }
        if let Some(kubeconfig) = self.admin_kubeconfig() {
            env.push(("ARC_EMULATOR_KUBECONFIG", path(kubeconfig)));
        }
        env.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The cloud file, JSON, that a client is pointed to.
    pub fn cloud_file(&self) -> &Path {
        self.files.cloud()
    }

    /// A kubeconfig that leads straight to the apiserver, past everything else.
    pub fn admin_kubeconfig(&self) -> Option<&Path> {
        self.files.kubeconfig().or(self.upstream.as_deref())
    }

    /// The certificate, PEM, of the authority of Entra, ARM and the relay.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The same certificate, in a file.
    pub fn ca_file(&self) -> &Path {
        self.files.ca()
    }

    /// The control endpoint, whose path is the only secret that it takes.
    pub fn control_url(&self) -> &str {
        self.control.url()
    }

    /// The ARM id of the cluster of that name, if there is one.
    pub fn cluster_id(&self, name: &str) -> Option<&str> {
        let mut clusters = self.arm().clusters().iter();
        clusters
            .find(|cluster| cluster.name == name)
            .map(|cluster| cluster.id.as_str())
    }

    /// The tenant's id.
    pub fn tenant(&self) -> String {
        self.entra().tenant()
    }

    /// The demo app's client id.
    pub fn client_id(&self) -> String {
        self.entra().credentials(DemoApp::Demo).client_id
    }

    /// The demo app's secret.
    pub fn client_secret(&self) -> String {
        self.entra().credentials(DemoApp::Demo).client_secret
    }

    /// The id of the subscription that the clusters are in.
    pub fn subscription(&self) -> String {
        self.arm().subscriptions()[0].id.clone()
    }

    /// What happened so far.
    pub fn seen(&self) -> Seen {
        self.parts.seen()
    }

    /// Stops every part and waits until each has ended.
    pub async fn stop(self) {
        self.control.stop().await;
        for site in self.parts.sites.values() {
            site.agent.stop().await;
        }
        self.parts.relay.stop().await;
        for site in self.parts.sites.values() {
            site.aad_proxy.stop().await;
        }
        self.parts.arm.stop().await;
        self.parts.entra.stop().await;
        if let Some(apiserver) = &self.parts.apiserver {
            apiserver.stop().await;
        }
    }

    fn demo(&self) -> &Site {
        self.parts
            .sites
            .get(DEMO_CLUSTER)
            .expect("the demo cluster always has an agent")
    }
}

/// The default group of the demo clusters, for messages.
pub const DEMO_GROUP: &str = arm::DEMO_GROUP;
