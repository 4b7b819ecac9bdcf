//! Signing in: how access tokens for ARM and for the cluster are had.
//!
//! Each method is one [`SignIn`]. Bearer tokens come from `azure_identity`; tokens bound to a key
//! are asked of Entra's token endpoint here, since that library has none.

mod azure_cli;
mod bridge;
mod service_principal;
mod token_endpoint;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::cloud::Cloud;
use super::pop::PopKey;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::net::Https;
use crate::secret::Secret;

/// An access token and its end.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token.
    pub secret: Secret,
    /// When it ends, seconds since 1970 by the server's clock.
    pub expires: u64,
}

/// A way to sign in.
#[async_trait]
pub trait SignIn: Debug + Send + Sync {
    /// Who is signed in and how, for people: `service principal 0000…`.
    fn description(&self) -> String;

    /// A bearer token for `scope`; it may come from a cache while it is valid.
    ///
    /// # Errors
    /// Entra refuses or cannot be reached.
    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error>;

    /// A fresh token for `scope` that is bound to `key`.
    ///
    /// # Errors
    /// Entra refuses or cannot be reached, or this method cannot give such tokens.
    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error>;
}

/// The sign-in settings: what the environment holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignInSettings {
    /// `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// The subscription whose account az should use.
    pub subscription: Option<String>,
}

/// Chooses the method that is configured: a service principal where the environment has one,
/// else az where it is installed.
///
/// # Errors
/// None is configured, or one is configured in part.
pub fn choose(
    settings: &SignInSettings,
    cloud: &Cloud,
    https: &Https,
    clock: &Clock,
) -> Result<Arc<dyn SignIn>, Error> {
    let missing = [
        ("AZURE_TENANT_ID", settings.tenant.is_none()),
        ("AZURE_CLIENT_ID", settings.client_id.is_none()),
        ("AZURE_CLIENT_SECRET", settings.client_secret.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect::<Vec<_>>();
    if let (Some(tenant), Some(client_id), Some(secret)) = (
        &settings.tenant,
        &settings.client_id,
        &settings.client_secret,
    ) {
        let service_principal = service_principal::ServicePrincipal::new(
            cloud,
            tenant,
            client_id,
            secret,
            https.clone(),
            clock.clone(),
        )?;
        return Ok(Arc::new(service_principal));
    }
    if settings.client_secret.is_some() {
        return Err(Error::new(
            Code::NotSignedIn,
            format!(
                "AZURE_CLIENT_SECRET is set, but {} is not",
                missing.join(" and ")
            ),
        )
        .hinted(format!(
            "set {}, or unset AZURE_CLIENT_SECRET to sign in with az",
            missing.join(" and ")
        )));
    }
    if azure_cli::is_installed() {
        return azure_cli::AzureCli::new(settings).map(|az| Arc::new(az) as Arc<dyn SignIn>);
    }
    Err(
        Error::new(Code::NotSignedIn, "no sign-in method is configured").because(format!(
            "{} not set, and az is not on the PATH",
            missing.join(", ")
        )),
    )
}
