//! Describing an emulator, and starting its parts in order.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Emulator;
use super::error::Error;
use super::parts::{Parts, Site};
use crate::aad_proxy::{AadProxy, AadProxyConfig, Upstream};
use crate::agent::{Agent, AgentConfig, Dialect};
use crate::apiserver::{ApiServer, ApiServerConfig};
use crate::arm::{Arm, ArmConfig, Cluster, RELAY};
use crate::control::Control;
use crate::entra::{Entra, EntraConfig, SERVER_APP};
use crate::faults::{FaultSet, Faults};
use crate::files::Files;
use crate::names::Names;
use crate::relay::{Relay, RelayConfig};
use crate::shape::Shaper;
use crate::tls::Authority;
use crate::upstream;

/// An agent's token to listen with lives this many seconds.
pub(crate) const LISTENER_TOKEN_SECONDS: u64 = 3_600;

/// How an emulator is to be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    seed: u64,
    faults: FaultSet,
    upstream: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            seed: 1,
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

    /// How the agent speaks inside a relay stream at the start.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.faults.dialect = dialect;
        self
    }

    /// Whether kube-aad-proxy offers HTTP/2 at the start.
    pub fn h2(mut self, offer: bool) -> Self {
        self.faults.no_h2 = !offer;
        self
    }

    /// Whether kube-aad-proxy offers HTTP/1.1 at the start.
    pub fn http1(mut self, offer: bool) -> Self {
        self.faults.no_http1 = !offer;
        self
    }

    /// The faults in force from the start, the dialect and the versions of HTTP among them: what
    /// was said of these before is replaced.
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
    ///
    /// # Errors
    ///
    /// When a part does not start, or what was described cannot be.
    pub async fn start(self) -> Result<Emulator, Error> {
        self.faults.check()?;
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
            seed: self.seed,
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
            proxy_authority,
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
            handler: Some(apiserver.handler()),
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
            relay: gear.relay.agent_door(),
            namespace: RELAY.to_owned(),
            path: cluster.listener_path.clone(),
            tls: gear.authority.client_config(&["http/1.1"])?,
            target: aad_proxy.door(),
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
