//! The TLS settings of a service, which may differ from one connection to the next.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;

/// Picks the TLS settings of each connection that is accepted.
pub struct Tls(Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>);

impl Tls {
    /// Asks `choose` when a connection begins its handshake.
    pub fn chosen(choose: impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static) -> Self {
        Self(Box::new(choose))
    }

    pub(super) fn now(&self) -> Arc<ServerConfig> {
        (self.0)()
    }
}

impl From<ServerConfig> for Tls {
    /// The same settings for every connection.
    fn from(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::chosen(move || Arc::clone(&config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
