//! Stub.
#![expect(missing_docs, clippy::unused_async, reason = "stub")]
use std::{io, net::SocketAddr, sync::Arc};

use crate::{faults::Faults, shape::Shaper, tls};

#[derive(Debug)]
pub struct RelayConfig {
    pub authority: Arc<tls::Authority>,
    pub faults: Faults,
    pub shaper: Shaper,
}
#[derive(Debug)]
pub struct Relay;
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    Close(u16),
    Reset,
    BlackHole,
}
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct RelaySeen {
    pub dials: u64,
}
impl Relay {
    pub async fn start(_config: RelayConfig) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self))
    }
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }
    pub fn create(&self, _namespace: &str, _path: &str, _listener_path: &str) {}
    pub fn remove(&self, _namespace: &str, _path: &str) {}
    pub fn sender_token(&self, _namespace: &str, _path: &str, _expires_unix: u64) -> String {
        "SharedAccessSignature sr=&sig=&se=&skn=".to_owned()
    }
    pub fn listener_token(&self, _namespace: &str, _path: &str, _expires_unix: u64) -> String {
        "SharedAccessSignature sr=&sig=&se=&skn=".to_owned()
    }
    pub fn drop_tunnels(&self, _cut: Cut) {}
    pub fn seen(&self) -> RelaySeen {
        RelaySeen::default()
    }
    pub async fn stop(&self) {}
}
