//! Whoever is signed in to azd.
//!
//! azd has bearer tokens only; those that are bound to a key are left to the browser.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential as _;
use azure_identity::{AzureDeveloperCliCredential, AzureDeveloperCliCredentialOptions};

use super::cache::BearerCache;
use super::{AccessToken, Auth, Gear, Made, SignIn, Unavailable, bridge, browser, tool};
use crate::azure::pop::PopKey;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::secret::Secret;

/// azd's account.
#[derive(Debug)]
struct Azd {
    credential: Arc<AzureDeveloperCliCredential>,
    cache: BearerCache,
    clock: Clock,
    /// Where bound tokens come from, if anything here has them.
    bound: Option<Arc<dyn SignIn>>,
}

pub(super) async fn make(gear: &Gear<'_>) -> Made {
    let settings = gear.settings;
    let path = settings.environment.path("PATH");
    if tool::find("azd", path.as_deref().map(Path::as_os_str)).is_none() {
        let why = "azd is not on the PATH".to_owned();
        return Err(Unavailable::NotConfigured(why));
    }
    let bound = browser::make(gear).await.ok();
    if settings.auth == Auth::Auto && settings.needs_bound && bound.is_none() {
        let why = "it has no token for the cluster, and there is no browser to get one with";
        return Err(Unavailable::NotConfigured(why.to_owned()));
    }
    let options = AzureDeveloperCliCredentialOptions {
        tenant_id: settings.tenant.clone(),
        executor: Some(Arc::new(tool::Tools)),
    };
    let credential = AzureDeveloperCliCredential::new(Some(options)).map_err(|error| {
        Error::new(Code::Usage, "the tenant for azd makes no sense").caused_by(&error)
    })?;
    Ok(Arc::new(Azd {
        credential,
        cache: BearerCache::new(gear.clock.clone()),
        clock: gear.clock.clone(),
        bound,
    }))
}

impl Azd {
    async fn fetch(&self, scope: &str) -> Result<AccessToken, Error> {
        let token = self.credential.get_token(&[scope], None).await;
        let token = token.map_err(|error| {
            let error = bridge::refused("azd gave no token", &error);
            let is_entras = error.causes().iter().any(|cause| cause.contains("AADSTS"));
            if is_entras {
                error
            } else {
                error.hinted("run `azd auth login`, or sign in otherwise with --auth")
            }
        });
        token.map(|token| bridge::token(&token, &self.clock))
    }
}

#[async_trait]
impl SignIn for Azd {
    fn description(&self) -> String {
        "azd".to_owned()
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        self.cache.get(scope, || self.fetch(scope)).await
    }

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.cache
            .replace(scope, refused, || self.fetch(scope))
            .await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        match &self.bound {
            Some(browser) => browser.bound(scope, key).await,
            None => Err(Error::new(
                Code::NotSignedIn,
                "azd has no token for the cluster, and there is no browser to get one with",
            )
            .because("tokens for the cluster are bound to a key; azd gives none such")
            .hinted(
                "sign in with `az login` or as a service principal, or use a Kubernetes service-account token with --token-file",
            )),
        }
    }
}
