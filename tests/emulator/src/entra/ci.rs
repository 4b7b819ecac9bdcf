//! Issuers outside the tenant whose tokens the demo app accepts: a CI service's and a cluster's.
//!
//! They sign with Entra's key, which saves making another; their issuer tells them apart.

use http::{HeaderMap, Response, StatusCode};
use rsa::PublicKey;
use serde_json::json;

use super::error::Context;
use super::{FederatedIdentity, State};
use crate::http::Body;
use crate::request::{self, Fields};

/// What a federated identity's token is made for, by convention.
pub(super) const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The subject of a workload in a cluster.
pub(super) const WORKLOAD_SUBJECT: &str = "system:serviceaccount:default:arcproxy";

const GITHUB_SUBJECT: &str = "repo:contoso/edge:environment:demo";
const PIPELINES_SUBJECT: &str = "sc://contoso/edge/demo";

/// Identity tokens live this many seconds.
const SECONDS: u64 = 600;

/// Makes the demo app accept the tokens of this module.
pub(super) fn register(state: &State) {
    let key: PublicKey = state.keys.public();
    let client_id = state.directory().apps[0].client_id.clone();
    state.change_app(&client_id, |app| {
        for subject in [GITHUB_SUBJECT, PIPELINES_SUBJECT, WORKLOAD_SUBJECT] {
            app.federated.push(FederatedIdentity {
                issuer: issuer(state),
                subject: subject.to_owned(),
                audience: AUDIENCE.to_owned(),
                key: key.clone(),
            });
        }
    });
}

/// An identity token.
pub(super) fn token(state: &State, subject: &str, audience: &str) -> String {
    let now = state.faults.cloud_time();
    state.keys.sign(&json!({
        "iss": issuer(state),
        "sub": subject,
        "aud": audience,
        "iat": now,
        "nbf": now,
        "exp": now + SECONDS,
        "jti": crate::names::random_guid(),
    }))
}

pub(super) fn github_env(state: &State) -> Vec<(String, String)> {
    let url = format!("{}/ci/github?api-version=2.0", state.url());
    pairs([
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &state.ci_token),
    ])
}

pub(super) fn pipelines_env(state: &State) -> Vec<(String, String)> {
    let url = format!("{}/ci/pipelines", state.url());
    let client_id = state.directory().apps[0].client_id.clone();
    let tenant = state.directory().tenant.clone();
    pairs([
        ("SYSTEM_OIDCREQUESTURI", url.as_str()),
        ("SYSTEM_ACCESSTOKEN", &state.ci_token),
        ("AZURESUBSCRIPTION_CLIENT_ID", &client_id),
        ("AZURESUBSCRIPTION_TENANT_ID", &tenant),
        ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "demo"),
    ])
}

/// Answers a job that asks for its identity token.
pub(super) fn answer(
    state: &State,
    kind: &str,
    headers: &HeaderMap,
    query: &Fields,
    context: &Context<'_>,
) -> Response<Body> {
    let bearer = request::header(headers, "authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    if bearer != Some(state.ci_token.as_str()) {
        let body = json!({ "message": "Unauthorized", "activityId": context.trace_id });
        return crate::http::json(StatusCode::UNAUTHORIZED, &body);
    }
    let body = if kind == "github" {
        let audience = query
            .get("audience")
            .unwrap_or("https://github.com/contoso");
        json!({ "count": 1, "value": token(state, GITHUB_SUBJECT, audience) })
    } else {
        json!({ "oidcToken": token(state, PIPELINES_SUBJECT, AUDIENCE) })
    };
    crate::http::json(StatusCode::OK, &body)
}

fn issuer(state: &State) -> String {
    // Unlike Entra's own issuer, so that no token of one is taken for one of the other.
    format!("{}/ci", state.url())
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
