//! Whoever is signed in to az.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential as _;
use azure_identity::{AzureCliCredential, AzureCliCredentialOptions};

use super::{AccessToken, Gear, Made, SignIn, SignInSettings, Unavailable, bridge};
use crate::azure::pop::PopKey;
use crate::error::{Code, Error};

/// az's account.
#[derive(Debug)]
struct AzureCli {
    credential: Arc<AzureCliCredential>,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    if !is_installed() {
        let why = "az is not on the PATH".to_owned();
        return Err(Unavailable::NotConfigured(why));
    }
    Ok(Arc::new(AzureCli::new(gear.settings)?))
}

fn is_installed() -> bool {
    let name = if cfg!(windows) { "az.cmd" } else { "az" };
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

impl AzureCli {
    fn new(settings: &SignInSettings) -> Result<Self, Error> {
        let options = AzureCliCredentialOptions {
            tenant_id: settings.tenant.clone(),
            subscription: settings.subscription.clone(),
            executor: None,
        };
        let credential = AzureCliCredential::new(Some(options)).map_err(|error| {
            Error::new(
                Code::Usage,
                "the tenant or subscription for az makes no sense",
            )
            .caused_by(&error)
        })?;
        Ok(Self { credential })
    }
}

#[async_trait]
impl SignIn for AzureCli {
    fn description(&self) -> String {
        "az".to_owned()
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        let token = self
            .credential
            .get_token(&[scope], None)
            .await
            .map_err(|error| {
                bridge::refused("az gave no token", &error).hinted("run `az login`")
            })?;
        Ok(bridge::token(&token))
    }

    async fn bound(&self, _: &str, _: &PopKey) -> Result<AccessToken, Error> {
        Err(Error::new(
            Code::NotSignedIn,
            "az signs in to Azure Resource Manager here, but not yet to the cluster",
        )
        .hinted(
            "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or use a service-account token with --token-file",
        ))
    }
}
