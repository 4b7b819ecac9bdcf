//! A service principal with a client secret, or with a certificate.
//!
//! With both the secret is taken, as `azure_identity`'s environment credentials have it.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as AzureSecret, TokenCredential as _};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};

use super::assertion::Application;
use super::token_endpoint::TokenEndpoint;
use super::{AccessToken, Gear, Made, SignIn, Unavailable, assertion, bridge, certificate};
use crate::azure::cloud::Cloud;
use crate::azure::pop::PopKey;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::net::Https;
use crate::secret::Secret;

const SECRET: &str = "AZURE_CLIENT_SECRET";

/// A service principal of one tenant, with its secret.
#[derive(Debug)]
pub(super) struct ServicePrincipal {
    authority: String,
    client_id: String,
    secret: Secret,
    credential: Arc<ClientSecretCredential>,
    endpoint: TokenEndpoint,
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
        Application::of(gear).map_err(|missing| assertion::in_part(SECRET, &missing))?;
    let (cloud, https, clock) = (gear.cloud, gear.https.clone(), gear.clock.clone());
    let Application { tenant, client_id } = &application;
    let made = ServicePrincipal::new(cloud, tenant, client_id, secret, https, clock)?;
    Ok(Arc::new(made))
}

impl ServicePrincipal {
    pub(super) fn new(
        cloud: &Cloud,
        tenant: &str,
        client_id: &str,
        secret: &Secret,
        https: Https,
        clock: Clock,
    ) -> Result<Self, Error> {
        let mut configuration = CustomConfiguration::default();
        cloud
            .authority
            .as_str()
            .clone_into(&mut configuration.authority_host);
        let options = ClientSecretCredentialOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(Arc::new(https.clone()))),
                // The transport waits out what passes, for every request alike.
                retry: RetryOptions::none(),
                cloud: Some(Arc::new(CloudConfiguration::Custom(configuration))),
                ..ClientOptions::default()
            },
        };
        let credential = ClientSecretCredential::new(
            tenant,
            client_id.to_owned(),
            AzureSecret::new(secret.expose().to_owned()),
            Some(options),
        )
        .map_err(|error| {
            Error::new(
                Code::Usage,
                "the service principal's settings make no sense",
            )
            .caused_by(&error)
            .hinted("check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")
        })?;
        Ok(Self {
            authority: cloud.authority.host_str().unwrap_or_default().to_owned(),
            client_id: client_id.to_owned(),
            secret: secret.clone(),
            credential,
            endpoint: TokenEndpoint::new(cloud, tenant, https, clock)?,
        })
    }
}

#[async_trait]
impl SignIn for ServicePrincipal {
    fn description(&self) -> String {
        format!("service principal {}", self.client_id)
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        let token = self
            .credential
            .get_token(&[scope], None)
            .await
            .map_err(|error| {
                bridge::refused(&format!("cannot sign in at {}", self.authority), &error)
            })?;
        Ok(bridge::token(&token))
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        let grant = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.secret.expose()),
        ];
        self.endpoint.bound(&grant, scope, key).await
    }
}
