//! Stub.
#![expect(missing_docs, clippy::unused_async, dead_code, reason = "stub")]
use std::{fmt::Debug, io, net::SocketAddr, sync::Arc};

use crate::{faults::Faults, tls};

pub trait AccessTokenKeys: Send + Sync + Debug {
    fn verify(&self, kid: &str, signing_input: &[u8], signature: &[u8]) -> bool;
}
#[derive(Debug, Clone)]
pub struct Upstream {
    pub url: url::Url,
    pub tls: rustls::ClientConfig,
    pub authorization: Option<String>,
}
#[derive(Debug)]
pub struct AadProxyConfig {
    pub authority: Arc<tls::Authority>,
    pub cluster_id: String,
    pub issuer: String,
    pub audience: String,
    pub keys: Arc<dyn AccessTokenKeys>,
    pub offer_h2: bool,
    pub offer_http1: bool,
    pub upstream: Upstream,
    pub faults: Faults,
}
#[derive(Debug)]
pub struct AadProxy(u8);
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct AadProxySeen {
    pub requests: u64,
}
impl AadProxy {
    pub async fn start(_config: AadProxyConfig) -> io::Result<Self> {
        Ok(Self(0))
    }
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
    pub fn seen(&self) -> AadProxySeen {
        AadProxySeen::default()
    }
    pub async fn stop(&self) {}
}
