//! Stub.
#![expect(
    missing_docs,
    missing_debug_implementations,
    clippy::unused_async,
    dead_code,
    reason = "stub"
)]
use std::{io, net::SocketAddr, sync::Arc};

use crate::faults::Faults;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Raw,
    Bridge,
}
pub struct AgentConfig {
    pub relay: SocketAddr,
    pub namespace: String,
    pub path: String,
    pub tls: rustls::ClientConfig,
    pub dialect: Dialect,
    pub target: SocketAddr,
    pub faults: Faults,
    pub token: Arc<dyn Fn() -> String + Send + Sync>,
}
#[derive(Debug)]
pub struct Agent(u8);
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct AgentSeen {
    pub accepted: u64,
}
impl Agent {
    pub async fn start(_config: AgentConfig) -> io::Result<Self> {
        Ok(Self(0))
    }
    pub fn seen(&self) -> AgentSeen {
        AgentSeen::default()
    }
    pub async fn restart(&self) -> io::Result<()> {
        Ok(())
    }
    pub async fn stop(&self) {}
}
