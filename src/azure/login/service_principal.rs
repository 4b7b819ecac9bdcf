//! A service principal with a client secret, or with a certificate.
//!
//! With both the secret is taken, as `azure_identity`'s environment credentials have it. That
//! library's own credential for a secret answers with an error when Entra is away while the old
//! token still lives, and leaves out the path of a cloud's authority: the token endpoint is asked
//! here, as for everybody else.

use std::sync::Arc;

use async_trait::async_trait;

use super::assertion::{self, Application};
use super::cache::BearerCache;
use super::token_endpoint::TokenEndpoint;
use super::{AccessToken, Gear, Made, SignIn, Unavailable, certificate};
use crate::azure::pop::PopKey;
use crate::error::Error;
use crate::secret::Secret;

const SECRET: &str = "AZURE_CLIENT_SECRET";

/// A service principal of one tenant, with its secret.
#[derive(Debug)]
struct ServicePrincipal {
    client_id: String,
    secret: Secret,
    endpoint: TokenEndpoint,
    bearers: BearerCache,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let Some(secret) = &gear.settings.client_secret else {
        return match gear.settings.environment.path(certificate::PATH) {
            Some(path) => certificate::make(gear, path),
            None => Err(Unavailable::NotConfigured(format!(
                "neither {SECRET} nor {} is set",
                certificate::PATH
            ))),
        };
    };
    let application =
        Application::of(gear).map_err(|missing| assertion::in_part(SECRET, missing))?;
    Ok(Arc::new(ServicePrincipal {
        client_id: application.client_id,
        secret: secret.clone(),
        endpoint: gear.endpoint(&application.tenant)?,
        bearers: BearerCache::new(gear.clock.clone()),
    }))
}

impl ServicePrincipal {
    async fn ask(&self, scope: &str, key: Option<&PopKey>) -> Result<AccessToken, Error> {
        let grant = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.secret.expose()),
        ];
        self.endpoint.token(&grant, scope, key).await
    }
}

#[async_trait]
impl SignIn for ServicePrincipal {
    fn description(&self) -> String {
        format!("service principal {}", self.client_id)
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        self.bearers.get(scope, || self.ask(scope, None)).await
    }

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.bearers
            .replace(scope, refused, || self.ask(scope, None))
            .await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        self.ask(scope, Some(key)).await
    }
}
