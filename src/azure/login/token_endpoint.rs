//! Entra's token endpoint, for the tokens that are bound to a key.
//!
//! A form post as in OAuth 2.0 with two more fields, `token_type=pop` and `req_cnf`; any grant
//! can carry them.

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::AccessToken;
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

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: u64,
    #[serde(default)]
    token_type: String,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl TokenEndpoint {
    pub(super) fn new(
        cloud: &Cloud,
        tenant: &str,
        https: Https,
        clock: Clock,
    ) -> Result<Self, Error> {
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
            .extend([tenant, "oauth2", "v2.0", "token"]);
        Ok(Self { url, https, clock })
    }

    /// Asks for a token for `scope` bound to `key` with `grant`'s form fields.
    pub(super) async fn bound(
        &self,
        grant: &[(&str, &str)],
        scope: &str,
        key: &PopKey,
    ) -> Result<AccessToken, Error> {
        let host = self.url.host_str().unwrap_or_default();
        let form = Serializer::new(String::new())
            .extend_pairs(grant)
            .append_pair("scope", scope)
            .append_pair("token_type", "pop")
            .append_pair("req_cnf", &key.req_cnf())
            .finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(form))
            .map_err(|error| Error::new(Code::Unexpected, "bad token request").caused_by(&error))?;
        // A client's own credentials may be sent twice; so may any grant that is not used up.
        let (answer, tried) = self.https.send_patiently(&request).await;
        let answer = answer.map_err(|error| unreachable(host, &error, tried))?;
        if may_pass(answer.status) {
            return Err(unserved(host, &answer, tried));
        }
        if answer.status.is_success() {
            let granted: Granted = serde_json::from_slice(&answer.body).map_err(|error| {
                Error::new(
                    Code::SignInUnreachable,
                    format!("{host} answered something other than a token"),
                )
                .caused_by(&error)
            })?;
            if !granted.token_type.eq_ignore_ascii_case("pop") {
                tracing::warn!(
                    token_type = granted.token_type,
                    "Entra answered another type of token than asked for"
                );
            }
            return Ok(AccessToken {
                secret: granted.access_token,
                expires: self.clock.now().saturating_add(granted.expires_in),
            });
        }
        let what = format!("{host} refused the sign-in for the cluster");
        Err(match serde_json::from_slice::<Refused>(&answer.body) {
            Ok(refused) if !refused.error_description.is_empty() => {
                refusal(Code::SignInRefused, &what, &refused.error_description)
            }
            Ok(refused) => refusal(Code::SignInRefused, &what, &refused.error),
            Err(_) => {
                let said = format!("it answered {}", answer.status);
                Error::new(Code::SignInUnreachable, format!("{host} did not sign in")).because(said)
            }
        })
    }
}

/// There was no answer.
pub(super) fn unreachable(host: &str, error: &HttpsError, tried: Tried) -> Error {
    Error::new(
        Code::SignInUnreachable,
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
    Error::new(code, what)
        .because(sentence)
        .maybe_hinted(hint(sentence))
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

fn hint(sentence: &str) -> Option<&'static str> {
    let number: String = sentence
        .split_once("AADSTS")?
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some(match number.as_str() {
        "7000215" => {
            "AZURE_CLIENT_SECRET is not the application's secret: set the secret's value, not its id"
        }
        "7000222" => {
            "the application's secret has expired: `az ad app credential reset --id APP` makes a new one for AZURE_CLIENT_SECRET"
        }
        "700016" => {
            "check AZURE_CLIENT_ID, and that the application is in the tenant of AZURE_TENANT_ID"
        }
        "90002" => "check AZURE_TENANT_ID: it is no tenant of this cloud",
        "90033" => "Entra has a fault that passes: try again in a minute",
        "500011" => {
            "the cluster's server application is unknown in this tenant: an administrator consents to it once"
        }
        _ => return None,
    })
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
            ["AADSTS7000215: Invalid client secret provided."]
        );
        assert!(error.hint().contains("AZURE_CLIENT_SECRET"));
        let other = refusal(Code::SignInRefused, "x", "AADSTS1: new\r\nTrace ID: 1");
        assert_eq!(other.causes(), ["AADSTS1: new"]);
    }
}
