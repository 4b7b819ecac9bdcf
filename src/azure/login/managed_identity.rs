//! The identity that Azure gives a machine, an app or a Cloud Shell.
//!
//! A service on the machine itself answers, in plain HTTP and never through a proxy. It has no
//! tokens that are bound to a key. `azure_identity` has the credential for two of the services
//! below, but not Cloud Shell's, and asks one that is not there for minutes.

mod local;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;

use super::cache::BearerCache;
use super::{AccessToken, Auth, Gear, Made, SignIn, Unavailable};
use crate::azure::pop::PopKey;
use crate::error::{Code, Error};
use crate::secret::Secret;

const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const IMDS_VERSION: &str = "2018-02-01";
const APP_VERSION: &str = "2019-08-01";

const WAYS_OUT: &str = "federate the identity to an application and use --auth workload-identity, or send requests as a Kubernetes service account with --token-file";

/// The identity, through one of the services.
#[derive(Debug)]
struct ManagedIdentity {
    service: Service,
    /// A user-assigned identity; without it, the machine's own.
    client_id: Option<String>,
    bearers: BearerCache,
}

/// What answers.
#[derive(Debug)]
enum Service {
    /// App Service, Functions and Container Apps: an address and the secret that it wants.
    App { endpoint: Url, secret: Secret },
    /// Cloud Shell.
    CloudShell { endpoint: Url },
    /// A virtual machine's metadata service.
    Machine,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(deserialize_with = "seconds")]
    expires_on: u64,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let service = Service::configured(gear)?;
    if gear.settings.needs_bound {
        return Err(unbound().into());
    }
    let client_id = gear.settings.client_id.clone();
    if let (Service::CloudShell { .. }, Some(_)) = (&service, &client_id) {
        return Err(Error::new(
            Code::NotSignedIn,
            "Cloud Shell has one identity, but AZURE_CLIENT_ID asks for another",
        )
        .hinted("unset AZURE_CLIENT_ID")
        .into());
    }
    Ok(Arc::new(ManagedIdentity {
        service,
        client_id,
        bearers: BearerCache::new(gear.clock.clone()),
    }))
}

/// Why the cluster cannot be reached as a managed identity.
fn unbound() -> Error {
    Error::new(
        Code::NotSignedIn,
        "a managed identity cannot sign in to the cluster",
    )
    .because(
        "the cluster wants a token that is bound to a key, and the identity's service makes none",
    )
    .because("asked for one it answers: Audience … is not a supported MSI token audience")
    .hinted(WAYS_OUT)
}

impl Service {
    fn configured(gear: &Gear<'_>) -> Result<Self, Unavailable> {
        let missing = |why: &str| Err(Unavailable::NotConfigured(why.to_owned()));
        let is_set = |name: &str| gear.variable(name).is_some();
        if let Some(endpoint) = gear.variable("IDENTITY_ENDPOINT") {
            if is_set("IDENTITY_SERVER_THUMBPRINT") {
                return missing("Service Fabric's identities are not supported");
            }
            return match gear.variable("IDENTITY_HEADER") {
                Some(secret) => Ok(Self::App {
                    endpoint: address("IDENTITY_ENDPOINT", &endpoint)?,
                    secret: secret.into(),
                }),
                None if is_set("IMDS_ENDPOINT") => {
                    missing("the identities of Arc-enabled servers are not supported")
                }
                None => missing("IDENTITY_ENDPOINT is set, but IDENTITY_HEADER is not"),
            };
        }
        if let Some(endpoint) = gear.variable("MSI_ENDPOINT") {
            if is_set("MSI_SECRET") {
                return missing("identities behind MSI_SECRET are not supported");
            }
            let endpoint = address("MSI_ENDPOINT", &endpoint)?;
            return Ok(Self::CloudShell { endpoint });
        }
        if gear.settings.auth == Auth::ManagedIdentity {
            return Ok(Self::Machine);
        }
        missing(
            "neither IDENTITY_ENDPOINT nor MSI_ENDPOINT is set; on a virtual machine give --auth managed-identity",
        )
    }

    /// Asks for a token for `resource`.
    fn request(&self, resource: &str, client_id: Option<&str>) -> http::Result<Request<Bytes>> {
        let asked = [("resource", Some(resource)), ("client_id", client_id)];
        let asked = asked
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let queried = |endpoint: &str, version: &str| {
            let mut query = Serializer::new(String::new());
            query.append_pair("api-version", version);
            let query = query.extend_pairs(asked.clone()).finish();
            let separator = if endpoint.contains('?') { '&' } else { '?' };
            format!("{endpoint}{separator}{query}")
        };
        match self {
            Self::App { endpoint, secret } => Request::get(queried(endpoint.as_str(), APP_VERSION))
                .header("x-identity-header", secret.header()?)
                .body(Bytes::new()),
            Self::CloudShell { endpoint } => {
                let form = Serializer::new(String::new()).extend_pairs(asked).finish();
                Request::post(endpoint.as_str())
                    .header("metadata", "true")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form.into())
            }
            Self::Machine => Request::get(queried(IMDS, IMDS_VERSION))
                .header("metadata", "true")
                .body(Bytes::new()),
        }
    }
}

impl ManagedIdentity {
    async fn ask(&self, scope: &str) -> Result<AccessToken, Error> {
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        let request = self.service.request(resource, self.client_id.as_deref());
        let request = request.map_err(|error| {
            Error::new(
                Code::NotSignedIn,
                "the managed identity's service has no usable address",
            )
            .caused_by(&error)
            .hinted("leave IDENTITY_ENDPOINT and IDENTITY_HEADER as Azure sets them")
        })?;
        let host = request.uri().authority().map_or("", |host| host.as_str());
        let (host, answer) = (host.to_owned(), local::send_patiently(&request).await);
        let (status, body) = answer.map_err(|why| {
            let hint = match self.service {
                Service::Machine => "only a virtual machine in Azure has this service: elsewhere take another --auth",
                Service::App { .. } | Service::CloudShell { .. } => "check that the service that Azure runs here is up",
            };
            let what = format!("cannot reach {host} for the managed identity");
            Error::new(Code::SignInUnreachable, what).because(why).hinted(hint)
        })?;
        if !status.is_success() {
            return Err(refused(&host, status, &body));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
            let what = format!("{host} answered something other than a token");
            Error::new(Code::SignInUnreachable, what).caused_by(&error)
        })?;
        Ok(AccessToken {
            secret: answer.access_token,
            expires: answer.expires_on,
        })
    }
}

fn refused(host: &str, status: http::StatusCode, body: &[u8]) -> Error {
    // `{"error","error_description"}` of a machine, `{"error":{"code","message"}}` of Cloud Shell,
    // `{"message"}` of an app.
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let said = [
        &said["error_description"],
        &said["error"]["message"],
        &said["message"],
        &said["error"],
    ]
    .into_iter()
    .find_map(Value::as_str)
    .map_or_else(|| format!("it answered {status}"), str::to_owned);
    let what = format!("{host} gave the managed identity no token");
    let error = Error::new(Code::SignInRefused, what).because(said);
    error.hinted(
        "check that the identity is assigned here, and AZURE_CLIENT_ID if it is a user-assigned one",
    )
}

#[async_trait]
impl SignIn for ManagedIdentity {
    fn description(&self) -> String {
        match &self.client_id {
            Some(client_id) => format!("managed identity {client_id}"),
            None => "the managed identity of this machine".to_owned(),
        }
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        self.bearers.get(scope, || self.ask(scope)).await
    }

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.bearers
            .replace(scope, refused, || self.ask(scope))
            .await
    }

    async fn bound(&self, _: &str, _: &PopKey) -> Result<AccessToken, Error> {
        Err(unbound())
    }
}

/// The services are on the machine: plain HTTP is theirs, and anything else is not.
fn address(name: &str, value: &str) -> Result<Url, Error> {
    Url::parse(value)
        .ok()
        .filter(|url| url.scheme() == "http" && url.has_host())
        .ok_or_else(|| {
            Error::new(Code::NotSignedIn, format!("{name} is no http:// address"))
                .hinted(format!("leave {name} as Azure sets it, or unset it"))
        })
}

/// Seconds since 1970, as a number or as text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_is_asked_in_its_own_way() {
        let endpoint = Url::parse("http://localhost:1/token").expect("a literal URL");
        let app = Service::App {
            endpoint: endpoint.clone(),
            secret: "s3cret".into(),
        };
        let request = app.request("https://arm", Some("me")).expect("a request");
        assert_eq!(
            request.uri().query(),
            Some("api-version=2019-08-01&resource=https%3A%2F%2Farm&client_id=me")
        );
        assert_eq!(request.headers()["x-identity-header"], "s3cret");
        let shell = Service::CloudShell { endpoint };
        let request = shell.request("https://arm", None).expect("a request");
        assert_eq!(request.method(), "POST");
        assert_eq!(request.body(), "resource=https%3A%2F%2Farm");
        assert_eq!(request.headers()["metadata"], "true");
        let machine = Service::Machine.request("https://arm", None);
        let machine = machine.expect("a request");
        assert_eq!(
            machine.uri(),
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Farm"
        );
        assert_eq!(machine.headers()["metadata"], "true");
    }

    #[test]
    fn the_end_is_a_number_or_a_text() {
        for json in [
            r#"{"access_token":"t","expires_on":"1790000000"}"#,
            r#"{"access_token":"t","expires_on":1790000000}"#,
        ] {
            let answer: Answer = serde_json::from_str(json).expect("an answer");
            assert_eq!(answer.expires_on, 1_790_000_000);
        }
    }
}
