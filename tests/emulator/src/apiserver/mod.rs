//! Stub.
#![expect(missing_docs, clippy::unused_async, reason = "stub")]
pub mod remote;
pub mod runtime;

use std::{io, net::SocketAddr};

use crate::tls::Authority;

#[derive(Debug, Clone, Default)]
pub struct ApiServerConfig {
    pub seed: u64,
    pub stub: u8,
}
#[derive(Debug)]
pub struct ApiServer {
    authority: Authority,
}
impl ApiServer {
    pub async fn start(_config: ApiServerConfig) -> io::Result<Self> {
        let authority = Authority::new("kubernetes").map_err(io::Error::other)?;
        Ok(Self { authority })
    }
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
    pub fn url(&self) -> String {
        "https://127.0.0.1:1".to_owned()
    }
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
    pub fn impersonator_token(&self) -> String {
        String::new()
    }
    pub fn service_account_token(&self) -> String {
        String::new()
    }
    pub fn admin_kubeconfig(&self) -> String {
        String::new()
    }
    pub async fn stop(&self) {}
}
