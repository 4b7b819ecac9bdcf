//! The parts of a running emulator, for those who need them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::aad_proxy::{AadProxy, AadProxySeen};
use crate::agent::{Agent, AgentSeen};
use crate::apiserver::ApiServer;
use crate::arm::{Arm, ArmSeen};
use crate::entra::{Entra, EntraSeen};
use crate::faults::Faults;
use crate::relay::{Relay, RelaySeen};

/// What runs inside one cluster.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) aad_proxy: AadProxy,
    pub(crate) agent: Agent,
}

/// Every part.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) seed: u64,
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
