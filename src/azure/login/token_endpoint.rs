//! Entra's token endpoint: bearer tokens, and tokens that are bound to a key.
//!
//! A form post as in OAuth 2.0. For a bound token it has two more fields, `token_type=pop` and
//! `req_cnf`; any grant can carry them.

use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;
use url::form_urlencoded::Serializer;

use super::{AccessToken, aadsts};
use crate::azure::cloud::Cloud;
use crate::azure::pop::PopKey;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::net::{Answer, Https, HttpsError, Tried, may_pass};
use crate::secret::Secret;

/// The endpoint of one tenant.
#[derive(Debug, Clone)]
pub(super) struct TokenEndpoint {
    url: Url,
    https: Https,
    clock: Clock,
}

/// What Entra gave.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) access: AccessToken,
    /// Only for a user who was asked with the scope `offline_access`.
    pub(super) refresh: Option<Secret>,
    /// Only for a user who was asked with the scope `openid`.
    pub(super) identity: Option<Secret>,
}

/// Why Entra gave nothing.
#[derive(Debug)]
pub(super) enum Ungranted {
    /// It refused, in its own words.
    Refused(Refused),
    /// It could not be reached, or did not answer as Entra does.
    Unreachable(Error),
}

/// A refusal, as OAuth 2.0 has it with Entra's additions.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    /// OAuth's word, such as `invalid_grant`, `interaction_required` or `authorization_pending`.
    pub(super) error: String,
    #[serde(default)]
    pub(super) error_description: String,
    /// What a new sign-in has to show; sent on as it is.
    #[serde(default)]
    pub(super) claims: Option<String>,
}

impl Refused {
    /// The number of Entra's AADSTS code, where its words have one.
    pub(super) fn number(&self) -> Option<u32> {
        aadsts::number(&self.error_description)
    }
}

/// How often a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Again while a fault passes: a client's own credentials, or a grant that is not used up.
    Patiently,
    /// Once: a code that is used up by being sent.
    Once,
}

/// The form of a grant; it may hold secrets.
pub(super) type Form<'a> = [(&'a str, &'a str)];

#[derive(Deserialize)]
struct GrantedBody {
    access_token: Secret,
    expires_in: u64,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    refresh_token: Option<Secret>,
    #[serde(default)]
    id_token: Option<Secret>,
}

impl TokenEndpoint {
    /// The endpoint of `tenant`, which may be `organizations` for a user of any.
    ///
    /// # Errors
    /// The cloud's authority cannot be a sign-in address.
    pub(super) fn new(
        cloud: &Cloud,
        tenant: &str,
        https: Https,
        clock: Clock,
    ) -> Result<Self, Error> {
        let url = endpoint(cloud, tenant, &["oauth2", "v2.0", "token"])?;
        Ok(Self { url, https, clock })
    }

    /// Entra's host.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The endpoint's own address, which is the audience of assertions.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for a token for `scope` with `grant`'s form fields, patiently; it is bound to `key` if
    /// there is one.
    ///
    /// # Errors
    /// Entra refuses or cannot be reached.
    pub(super) async fn token(
        &self,
        grant: &Form<'_>,
        scope: &str,
        key: Option<&PopKey>,
    ) -> Result<AccessToken, Error> {
        let granted = self.ask(grant, scope, key, Sending::Patiently).await;
        let purpose = key.map_or("", |_| " for the cluster");
        granted
            .map(|granted| granted.access)
            .map_err(|error| self.told(error, purpose))
    }

    /// Asks for what `grant`'s form fields and `scope` say, bound to `key` if there is one.
    ///
    /// # Errors
    /// An [`Ungranted`], for the caller to judge.
    pub(super) async fn ask(
        &self,
        grant: &Form<'_>,
        scope: &str,
        key: Option<&PopKey>,
        sending: Sending,
    ) -> Result<Granted, Ungranted> {
        let form = form(grant, scope, key);
        let answer = self.post(&self.url, form, sending).await?;
        if !answer.status.is_success() {
            return Err(self.ungranted(&answer));
        }
        let body: GrantedBody = self.read(&answer, "a token")?;
        if key.is_some() && !body.token_type.eq_ignore_ascii_case("pop") {
            tracing::warn!(
                token_type = body.token_type,
                "Entra answered another type of token than asked for"
            );
        }
        Ok(Granted {
            access: AccessToken {
                secret: body.access_token,
                expires: self.clock.now().saturating_add(body.expires_in),
            },
            refresh: body.refresh_token,
            identity: body.id_token,
        })
    }

    /// Posts `form` to `url`, one of Entra's.
    pub(super) async fn post(
        &self,
        url: &Url,
        form: String,
        sending: Sending,
    ) -> Result<Answer, Ungranted> {
        let host = self.host();
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(form))
            .map_err(|error| {
                Ungranted::Unreachable(
                    Error::new(Code::Unexpected, "bad token request").caused_by(&error),
                )
            })?;
        let started = Instant::now();
        let (answer, tried) = match sending {
            Sending::Patiently => self.https.send_patiently(&request).await,
            Sending::Once => {
                let answer = self.https.send(request).await;
                let took = started.elapsed();
                (answer, Tried { times: 1, took })
            }
        };
        let answer =
            answer.map_err(|error| Ungranted::Unreachable(unreachable(host, &error, tried)))?;
        if may_pass(answer.status) {
            return Err(Ungranted::Unreachable(unserved(host, &answer, tried)));
        }
        Ok(answer)
    }

    /// What a refusing answer says.
    pub(super) fn ungranted(&self, answer: &Answer) -> Ungranted {
        if let Ok(refused) = serde_json::from_slice(&answer.body) {
            return Ungranted::Refused(refused);
        }
        let said = format!("it answered {}", answer.status);
        let what = format!("{} did not sign in", self.host());
        Ungranted::Unreachable(Error::new(Code::SignInUnreachable, what).because(said))
    }

    /// Reads what should be `what`.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        what: &str,
    ) -> Result<T, Ungranted> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let host = self.host();
            let what = format!("{host} answered something other than {what}");
            Ungranted::Unreachable(Error::new(Code::SignInUnreachable, what).caused_by(&error))
        })
    }

    /// The error for people; `purpose` follows "refused the sign-in".
    pub(super) fn told(&self, error: Ungranted, purpose: &str) -> Error {
        match error {
            Ungranted::Refused(refused) => {
                let what = format!("{} refused the sign-in{purpose}", self.host());
                let words = match refused.error_description.as_str() {
                    "" => &refused.error,
                    description => description,
                };
                refusal(Code::SignInRefused, &what, words)
            }
            Ungranted::Unreachable(error) => error,
        }
    }
}

fn form(grant: &Form<'_>, scope: &str, key: Option<&PopKey>) -> String {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(grant).append_pair("scope", scope);
    if let Some(key) = key {
        form.append_pair("token_type", "pop")
            .append_pair("req_cnf", &key.req_cnf());
    }
    form.finish()
}

/// The address of one of Entra's endpoints for `tenant`.
///
/// # Errors
/// The cloud's authority cannot be a sign-in address.
pub(super) fn endpoint(cloud: &Cloud, tenant: &str, path: &[&str]) -> Result<Url, Error> {
    let mut url = cloud.authority.clone();
    let authority = &cloud.authority;
    url.path_segments_mut()
        .map_err(|()| {
            Error::new(
                Code::CloudFile,
                format!("{authority} cannot be a sign-in address"),
            )
        })?
        .pop_if_empty()
        .push(tenant)
        .extend(path);
    Ok(url)
}

/// There was no answer.
pub(super) fn unreachable(host: &str, error: &HttpsError, tried: Tried) -> Error {
    Error::new(
        error.code().unwrap_or(Code::SignInUnreachable),
        format!("cannot reach {host} to sign in"),
    )
    .because(format!("{error}{tried}"))
    .maybe_hinted(error.hint())
}

/// The answer tells of a fault that was to pass, and has not.
pub(super) fn unserved(host: &str, answer: &Answer, tried: Tried) -> Error {
    let said = serde_json::from_slice::<Refused>(&answer.body)
        .ok()
        .map(|refused| sentence(&refused.error_description).to_owned())
        .filter(|said| !said.is_empty())
        .unwrap_or_else(|| format!("it answered {}", answer.status));
    let hint = answer.retry_after().map_or_else(
        || "Entra has a fault that passes: try again in a minute".to_owned(),
        |wait| {
            let seconds = wait.as_secs();
            format!("Entra asks to wait {seconds} seconds; then try again")
        },
    );
    Error::new(Code::SignInUnreachable, format!("{host} did not sign in"))
        .because(format!("{said}{tried}"))
        .hinted(hint)
}

/// An error with Entra's own words, its code explained where it is one that people meet.
pub(super) fn refusal(code: Code, what: &str, description: &str) -> Error {
    let sentence = sentence(description);
    tracing::debug!(description, "sign-in refused");
    // Entra's own word for a fault that passes.
    let code = if sentence.contains("AADSTS90033") {
        Code::SignInUnreachable
    } else {
        code
    };
    let error = Error::new(code, what).because(sentence);
    match aadsts::explain(sentence) {
        Some(known) => error.because(known.cause).hinted(known.fix),
        None => error,
    }
}

/// Trace id, correlation id and time follow the sentence, on lines of their own or behind it.
fn sentence(description: &str) -> &str {
    description
        .lines()
        .next()
        .and_then(|line| line.split(" Trace ID:").next())
        .unwrap_or_default()
        .trim()
}

/// Reads `answer` as everything that is read of Entra's.
#[cfg(fuzzing)]
pub(super) fn fuzzing(answer: &[u8]) {
    if let Ok(body) = serde_json::from_slice::<GrantedBody>(answer) {
        let _ = 1_790_000_000_u64.saturating_add(body.expires_in);
    }
    let _ = serde_json::from_slice::<Refused>(answer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entras_sentence_is_kept_and_its_code_explained() {
        let description =
            "AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2";
        let error = refusal(Code::SignInRefused, "login.example refused", description);
        assert_eq!(
            error.causes(),
            [
                "AADSTS7000215: Invalid client secret provided.",
                "AZURE_CLIENT_SECRET is not the application's secret",
            ]
        );
        assert!(error.hint().contains("not its id"));
        let other = refusal(Code::SignInRefused, "x", "AADSTS1: new\r\nTrace ID: 1");
        assert_eq!(other.causes(), ["AADSTS1: new"]);
    }
}
