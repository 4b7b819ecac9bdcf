//! Signing in as an application that shows an assertion: a signed statement of who it is, in the
//! place of a secret.
//!
//! Every request for a token carries an assertion that is made or fetched for it, so that one that
//! has ended is never sent. `azure_identity` has such credentials, but they tell Entra's refusals
//! only as text and judge a token's life by this machine's clock: bearer tokens are asked of the
//! token endpoint here, like the bound ones.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt as _;
use url::Url;
use zeroize::Zeroizing;

use super::cache::BearerCache;
use super::token_endpoint::{Sending, TokenEndpoint, Ungranted};
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

    /// What to do when Entra refuses one with the AADSTS code `number`.
    fn hint(&self, number: u32) -> Option<String>;
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
    pub(super) fn of(gear: &Gear<'_>) -> Result<Self, &'static str> {
        let missing = match (&gear.settings.tenant, &gear.settings.client_id) {
            (Some(tenant), Some(client_id)) => {
                return Ok(Self {
                    tenant: tenant.clone(),
                    client_id: client_id.clone(),
                });
            }
            (None, Some(_)) => "AZURE_TENANT_ID",
            (Some(_), None) => "AZURE_CLIENT_ID",
            (None, None) => "AZURE_TENANT_ID and AZURE_CLIENT_ID",
        };
        Err(missing)
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
            && refused.number() == Some(700_024)
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
            Ungranted::Refused(refused) => refused
                .number()
                .and_then(|number| self.assertions.hint(number)),
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

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.bearers
            .replace(scope, refused, || self.ask(scope, None))
            .await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        self.ask(scope, Some(key)).await
    }
}

/// The largest file with a token or a certificate that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// Reads the file with what an application signs in by.
///
/// # Errors
/// It is no file, larger than a megabyte, or cannot be read.
pub(super) async fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // A pipe may never end, or hold it once only; it is read for each assertion.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = tokio::fs::File::open(path).await?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other("it is larger than a megabyte"));
    }
    Ok(bytes)
}

/// The hint for a token of another issuer that Entra does not take; `whose` is the token.
pub(super) fn federation_hint(number: u32, whose: &str) -> Option<String> {
    Some(match number {
        700_024 => format!(
            "{whose} has ended, or this machine's clock is wrong: the next renewal reads a new one"
        ),
        70_021 | 700_211 | 700_212 | 700_213 => format!(
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
            error.code().unwrap_or(Code::SignInUnreachable),
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

    #[tokio::test]
    async fn only_a_file_of_some_size_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, b"token").expect("writes");
        assert_eq!(read(&file).await.expect("a file")[..], b"token"[..]);
        let large = std::fs::File::create(&file).expect("a file");
        large.set_len(FILE_LIMIT).expect("grows");
        assert!(read(&file).await.is_ok());
        large.set_len(FILE_LIMIT + 1).expect("grows");
        for bad in [&file, folder.path(), Path::new("/dev/zero")] {
            assert!(read(bad).await.is_err(), "{}", bad.display());
        }
    }
}
