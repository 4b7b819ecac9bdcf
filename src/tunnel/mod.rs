//! The tunnel: HTTP to kube-aad-proxy through the relay.
//!
//! A [`Connect`] gives a byte stream to the agent; [`Opener`] lays the dialect and the inner TLS
//! over it; [`Pool`] keeps the HTTP connections. Credentials come from a [`Credentials`], so that
//! nothing here knows Azure.

mod body;
mod dialect;
mod error;
mod far_side;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod open;
mod pool;
mod pulse;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

pub use body::PooledBody;
pub use dialect::Dialect;
pub use error::TunnelError;
pub use far_side::FarSide;
pub use open::Opener;
pub use pool::{Outgoing, Pool};

use crate::error::Error;
use crate::relay::{DialError, Dialer, Rendezvous};

/// A byte stream both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Gives byte streams to the agent.
#[async_trait]
pub trait Connect: Debug + Send + Sync {
    /// Opens one.
    async fn connect(&self, rendezvous: &Rendezvous) -> Result<Box<dyn Io>, DialError>;
}

#[async_trait]
impl Connect for Dialer {
    async fn connect(&self, rendezvous: &Rendezvous) -> Result<Box<dyn Io>, DialError> {
        Ok(Box::new(self.dial(rendezvous).await?))
    }
}

/// What opening a tunnel takes.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where the agent is met.
    pub rendezvous: Rendezvous,
    /// What answers there.
    pub far_side: Arc<FarSide>,
    /// Counts up with every renewal.
    pub generation: u64,
}

/// The source of [`Access`].
#[async_trait]
pub trait Credentials: Debug + Send + Sync {
    /// What is valid now.
    fn current(&self) -> Access;

    /// Fetches anew, because the far side refused `generation`. Concurrent calls fetch once; what
    /// was fetched only just now is not fetched again but returned.
    ///
    /// Cancel safe: what is being fetched is fetched all the same.
    ///
    /// # Errors
    /// Azure refuses, cannot be reached or takes too long.
    async fn renew(self: Arc<Self>, generation: u64) -> Result<Access, Error>;
}
