//! Issuers outside the tenant whose tokens the demo app accepts: a CI service's and a cluster's.
//!
//! They sign with Entra's key, which saves making another; their issuer tells them apart.

use http::request::Parts;
use http::{Method, Response, StatusCode, header};
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

/// The one service connection.
const CONNECTION: &str = "demo";

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
        ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", CONNECTION),
    ])
}

/// Answers a job that asks for its identity token.
pub(super) fn answer(
    state: &State,
    kind: &str,
    parts: &Parts,
    query: &Fields,
    context: &Context<'_>,
) -> Response<Body> {
    let refuse = |status, message: &str| {
        let body = json!({ "message": message, "activityId": context.trace_id });
        crate::http::json(status, &body)
    };
    let value = |name| request::header(&parts.headers, name);
    let bearer = value("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    if bearer != Some(state.ci_token.as_str()) {
        let mut response = refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
        if kind == "pipelines" && value("x-tfs-fedauthredirect") != Some("Suppress") {
            // A browser is led to a page to sign in at.
            *response.status_mut() = StatusCode::FOUND;
            let page = request::header_value(&format!("{}/_signin", state.url()));
            response.headers_mut().insert(header::LOCATION, page);
        }
        return response;
    }
    let body = if kind == "github" {
        if parts.method != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered");
        }
        let audience = query
            .get("audience")
            .unwrap_or("https://github.com/contoso");
        json!({ "count": 1, "value": token(state, GITHUB_SUBJECT, audience) })
    } else {
        if parts.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Only POST is answered");
        }
        if query.get("api-version") != Some("7.1") {
            return refuse(StatusCode::BAD_REQUEST, "No api-version was supplied");
        }
        if query.get("serviceConnectionId") != Some(CONNECTION) {
            return refuse(StatusCode::NOT_FOUND, "Service connection not found");
        }
        json!({ "oidcToken": token(state, PIPELINES_SUBJECT, AUDIENCE) })
    };
    state.count(|seen| seen.identity_tokens += 1);
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
