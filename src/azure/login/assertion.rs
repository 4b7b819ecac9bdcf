//! Signing in as an application that shows an assertion: a signed statement of who it is, in the
//! place of a secret.
//!
//! Every request for a token carries an assertion that is made or fetched for it, so that one that
//! has ended is never sent. `azure_identity` has such credentials, but they tell Entra's refusals
//! only as text and judge a token's life by this machine's clock: bearer tokens are asked of the
//! token endpoint here, like the bound ones.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use serde::de::DeserializeOwned;
use url::Url;

use super::cache::BearerCache;
use super::token_endpoint::{Refused, Sending, TokenEndpoint, Ungranted};
use super::{AccessToken, Gear, Made, SignIn, Unavailable};
use crate::azure::pop::PopKey;
use crate::error::{Code, Error};
use crate::net::{Https, may_pass};
use crate::secret::Secret;

/// What an identity token for Entra is made out to, by convention.
pub(super) const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Where assertions come from.
#[async_trait]
pub(super) trait Assertions: Debug + Send + Sync {
    /// A fresh one.
    ///
    /// # Errors
    /// It cannot be made or fetched.
    async fn fresh(&self) -> Result<Secret, Error>;

    /// What to do when Entra refuses one with `number`, the digits of an AADSTS code.
    fn hint(&self, number: &str) -> Option<String>;
}

/// An application whose tenant and client id are known.
#[derive(Debug, Clone)]
pub(super) struct Application {
    pub(super) tenant: String,
    pub(super) client_id: String,
}

/// An application that signs in with assertions.
#[derive(Debug)]
pub(super) struct Asserted<A> {
    description: String,
    client_id: String,
    assertions: A,
    endpoint: TokenEndpoint,
    bearers: BearerCache,
}

impl Application {
    /// The application of `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`.
    ///
    /// # Errors
    /// The names of those that are missing, joined by `and`.
    pub(super) fn of(gear: &Gear<'_>) -> Result<Self, String> {
        let (tenant, client_id) = (&gear.settings.tenant, &gear.settings.client_id);
        Self::from([
            ("AZURE_TENANT_ID", tenant.clone()),
            ("AZURE_CLIENT_ID", client_id.clone()),
        ])
    }

    /// The application of a tenant and a client id, each with the name of its variable.
    ///
    /// # Errors
    /// The names of those that are missing, joined by `and`.
    pub(super) fn from([tenant, client_id]: [(&str, Option<String>); 2]) -> Result<Self, String> {
        match (tenant, client_id) {
            ((_, Some(tenant)), (_, Some(client_id))) => Ok(Self { tenant, client_id }),
            ((name, None), (_, Some(_))) | ((_, Some(_)), (name, None)) => Err(name.to_owned()),
            ((one, None), (other, None)) => Err(format!("{one} and {other}")),
        }
    }
}

/// The error for a method of which `set` is set but `missing` is not.
pub(super) fn in_part(set: &str, missing: &str) -> Unavailable {
    Error::new(
        Code::NotSignedIn,
        format!("{set} is set, but {missing} is not"),
    )
    .hinted(format!(
        "set {missing}, or unset {set} to sign in otherwise"
    ))
    .into()
}

impl<A: Assertions + 'static> Asserted<A> {
    /// `application` with `assertions`, which people know as `how`.
    pub(super) fn make(
        gear: &Gear<'_>,
        application: &Application,
        how: &str,
        assertions: A,
    ) -> Made {
        Ok(Arc::new(Self {
            description: format!("service principal {} ({how})", application.client_id),
            client_id: application.client_id.clone(),
            assertions,
            endpoint: gear.endpoint(&application.tenant)?,
            bearers: BearerCache::new(gear.clock.clone()),
        }))
    }
}

impl<A: Assertions> Asserted<A> {
    async fn ask(&self, scope: &str, key: Option<&PopKey>) -> Result<AccessToken, Error> {
        let assertion = self.assertions.fresh().await?;
        let mut outcome = self.send(&assertion, scope, key).await;
        if let Err(Ungranted::Refused(refused)) = &outcome
            && number(refused) == Some("700024")
        {
            // Not in its time: the answer has told the server's time, or a newer one is there.
            let newer = self.assertions.fresh().await?;
            if newer != assertion {
                tracing::debug!("asking again with a newer assertion");
                outcome = self.send(&newer, scope, key).await;
            }
        }
        outcome.map_err(|error| self.told(error, key.is_some()))
    }

    async fn send(
        &self,
        assertion: &Secret,
        scope: &str,
        key: Option<&PopKey>,
    ) -> Result<AccessToken, Ungranted> {
        let grant = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion.expose()),
        ];
        let granted = self.endpoint.ask(&grant, scope, key, Sending::Patiently);
        granted.await.map(|granted| granted.access)
    }

    fn told(&self, error: Ungranted, is_bound: bool) -> Error {
        let hint = match &error {
            Ungranted::Refused(refused) => {
                number(refused).and_then(|number| self.assertions.hint(number))
            }
            Ungranted::Unreachable(_) => None,
        };
        let purpose = if is_bound { " for the cluster" } else { "" };
        let error = self.endpoint.told(error, purpose);
        error.maybe_hinted(hint.as_deref())
    }
}

#[async_trait]
impl<A: Assertions> SignIn for Asserted<A> {
    fn description(&self) -> String {
        self.description.clone()
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        self.bearers.get(scope, || self.ask(scope, None)).await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        self.ask(scope, Some(key)).await
    }
}

/// The digits of the AADSTS code.
fn number(refused: &Refused) -> Option<&str> {
    let (_, rest) = refused.error_description.split_once("AADSTS")?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// The hint for a token of another issuer that Entra does not take; `whose` is the token.
pub(super) fn federation_hint(number: &str, whose: &str) -> Option<String> {
    Some(match number {
        "700024" => format!(
            "{whose} has ended, or this machine's clock is wrong: the next renewal reads a new one"
        ),
        "70021" | "700211" | "700212" | "700213" => format!(
            "give the application a federated credential with exactly the issuer, subject and audience of {whose}: `az ad app federated-credential create --id APP --parameters FILE`"
        ),
        _ => return None,
    })
}

/// The address in the variable `name`, which has to be one that TLS guards.
pub(super) fn address(name: &str, value: &str) -> Result<Url, Error> {
    Url::parse(value)
        .ok()
        .filter(|url| url.scheme() == "https" && url.has_host())
        .ok_or_else(|| {
            Error::new(Code::NotSignedIn, format!("{name} is no https:// address"))
                .hinted(format!("leave {name} as the pipeline sets it"))
        })
}

/// Asks a pipeline's service for an identity token with `request`.
///
/// # Errors
/// It cannot be reached, refuses (with `hint` for what to do) or answers no token.
pub(super) async fn fetch<T: DeserializeOwned>(
    https: &Https,
    request: &Request<Bytes>,
    hint: &str,
) -> Result<T, Error> {
    let host = request.uri().host().unwrap_or_default();
    let (answer, tried) = https.send_patiently(request).await;
    let answer = answer.map_err(|error| {
        Error::new(
            Code::SignInUnreachable,
            format!("cannot reach {host} for an identity token"),
        )
        .because(format!("{error}{tried}"))
        .maybe_hinted(error.hint())
    })?;
    if may_pass(answer.status) {
        let said = format!("it answered {}{tried}", answer.status);
        let what = format!("{host} gave no identity token");
        return Err(Error::new(Code::SignInUnreachable, what)
            .because(said)
            .hinted("the service has a fault that passes: try again in a minute"));
    }
    let refused = |why: String| {
        Error::new(
            Code::SignInRefused,
            format!("{host} gave no identity token"),
        )
        .because(why)
        .hinted(hint)
    };
    if !answer.status.is_success() {
        let said = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
        let said = said.as_ref().and_then(|body| body["message"].as_str());
        let said = said.map_or_else(String::new, |said| format!(": {said}"));
        return Err(refused(format!("it answered {}{said}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        // Not the error's own words alone: a page that asks to sign in is no JSON.
        refused(format!("its answer is none: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_entras_words() {
        let refused = |description: &str| Refused {
            error: "invalid_client".to_owned(),
            error_description: description.to_owned(),
            claims: None,
        };
        let told = refused("AADSTS700024: Client assertion is not within its valid time range.");
        assert_eq!(number(&told), Some("700024"));
        assert_eq!(number(&refused("AADSTS7")), Some("7"));
        assert_eq!(number(&refused("something else")), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |tenant: Option<&str>, client: Option<&str>| {
            let pair = [("T", tenant), ("C", client)];
            Application::from(pair.map(|(name, value)| (name, value.map(str::to_owned))))
                .map(|application| application.client_id)
        };
        assert_eq!(missing(Some("t"), Some("c")), Ok("c".to_owned()));
        assert_eq!(missing(None, Some("c")), Err("T".to_owned()));
        assert_eq!(missing(Some("t"), None), Err("C".to_owned()));
        assert_eq!(missing(None, None), Err("T and C".to_owned()));
    }
}
