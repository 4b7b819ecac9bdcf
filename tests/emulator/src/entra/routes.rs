//! Which endpoint answers which request.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::Value;

use super::State;
use super::error::{Aadsts, Context};
use super::{ci, discovery, interactive, pages, refusals, token};
use crate::faults::Refusal;
use crate::http::{Body, json};
use crate::names::random_guid;
use crate::request::{self, Fields, date, header_value, read_body};

/// Answers one request, and never without an answer.
pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let trace_id = random_guid();
    let correlation_id = request::header(request.headers(), "client-request-id")
        .map_or_else(random_guid, str::to_owned);
    let mut response = route(&state, request, &trace_id, &correlation_id).await;
    let headers = response.headers_mut();
    headers.insert(header::DATE, date(state.faults.cloud_time()));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-cache"),
    );
    headers.insert("x-ms-request-id", header_value(&trace_id));
    headers.insert("client-request-id", header_value(&correlation_id));
    response
}

async fn route(
    state: &State,
    request: Request<Incoming>,
    trace_id: &str,
    correlation_id: &str,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let context = Context {
        authority: state.url(),
        trace_id,
        correlation_id,
        now: state.faults.cloud_time(),
    };
    let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let path: Vec<_> = parts.uri.path().trim_matches('/').split('/').collect();
    let get = parts.method == Method::GET;
    match path.as_slice() {
        [
            tenant,
            "oauth2",
            "v2.0",
            endpoint @ ("token" | "devicecode"),
        ] => {
            state.count(|seen| seen.token_requests += u64::from(*endpoint == "token"));
            if let Some(refusal) = state.faults.strike(|set| &mut set.entra).await {
                return refuse(refusal, &context);
            }
            if parts.method != Method::POST {
                return refusals::only_post(&parts.method).response(&context);
            }
            let form = match read_form(&parts.headers, body).await {
                Ok(form) => form,
                Err(refusal) => return refusal.response(&context),
            };
            let outcome = match *endpoint {
                "token" => token::answer(state, tenant, &form),
                _ => interactive::start_device(state, tenant, &form),
            };
            finish(state, outcome, &context)
        }
        [tenant, "oauth2", "v2.0", "authorize"] if get => {
            state.count(|seen| seen.authorize_requests += 1);
            interactive::authorize(state, tenant, &query, &context)
        }
        [_, "oauth2", "deviceauth"] if get => interactive::device_page(state, &query),
        [_, "oauth2", "deviceauth"] => {
            let form = read_body(body).await.unwrap_or_default();
            interactive::device_page(state, &Fields::parse(&form))
        }
        [tenant, "v2.0", ".well-known", "openid-configuration"] if get => {
            configuration(state, tenant, "v2.0", &context)
        }
        [tenant, ".well-known", "openid-configuration"] if get => {
            configuration(state, tenant, "v1.0", &context)
        }
        [_, "discovery", "instance"] if get => instance(state, &query, &context),
        [tenant, "discovery", "v2.0", "keys"] | [tenant, "discovery", "keys"] if get => {
            match check_tenant(state, tenant) {
                Ok(()) => json(StatusCode::OK, &state.keys.jwks(context.authority)),
                Err(refusal) => refusal.response(&context),
            }
        }
        ["ci", kind @ ("github" | "pipelines")] => {
            ci::answer(state, kind, &parts, &query, &context)
        }
        _ => pages::message(StatusCode::NOT_FOUND, "Not found", "There is nothing here."),
    }
}

async fn read_form(headers: &HeaderMap, body: Incoming) -> Result<Fields, Aadsts> {
    let form = request::header(headers, "content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    match read_body(body).await {
        Some(body) if form => Ok(Fields::parse(&body)),
        // Sent as anything else, no field is found: Entra then misses the first one.
        Some(_) => Err(refusals::missing("grant_type")),
        None => Err(refusals::malformed()),
    }
}

fn finish(state: &State, outcome: Result<Value, Aadsts>, context: &Context<'_>) -> Response<Body> {
    match outcome {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refusal) => {
            tracing::debug!(number = refusal.number, "refused a token");
            state.count(|seen| *seen.refusals.entry(refusal.number).or_default() += 1);
            refusal.response(context)
        }
    }
}

fn refuse(refusal: Refusal, context: &Context<'_>) -> Response<Body> {
    let error = Aadsts::new(
        90_033,
        "temporarily_unavailable",
        "A transient error has occurred. Please try again.",
    );
    let mut response = error.response(context);
    *response.status_mut() = refusal.status;
    if let Some(seconds) = refusal.retry_after_seconds {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn configuration(
    state: &State,
    tenant: &str,
    version: &str,
    context: &Context<'_>,
) -> Response<Body> {
    match check_tenant(state, tenant) {
        Ok(()) => {
            let id = state.directory().tenant.clone();
            // A domain's documents name the tenant by its id.
            let named = if token::is_any_tenant(tenant) {
                tenant
            } else {
                &id
            };
            let document = discovery::openid_configuration(context.authority, named, version);
            json(StatusCode::OK, &document)
        }
        Err(refusal) => refusal.response(context),
    }
}

fn check_tenant(state: &State, tenant: &str) -> Result<(), Aadsts> {
    if token::is_any_tenant(tenant) || state.directory().is_tenant(tenant) {
        Ok(())
    } else {
        Err(refusals::unknown_tenant(tenant))
    }
}

fn instance(state: &State, query: &Fields, context: &Context<'_>) -> Response<Body> {
    let tenant = query
        .get("authorization_endpoint")
        .and_then(|endpoint| url::Url::parse(endpoint).ok())
        .and_then(|endpoint| {
            let own = endpoint.origin().ascii_serialization() == context.authority;
            let tenant = endpoint.path_segments()?.next()?.to_owned();
            own.then_some(tenant)
        });
    match tenant {
        Some(tenant) => {
            if let Err(refusal) = check_tenant(state, &tenant) {
                return refusal.response(context);
            }
            let document = discovery::instance(context.authority, &tenant);
            json(StatusCode::OK, &document)
        }
        None => Aadsts::new(50_049, "invalid_instance", "Unknown or invalid instance.")
            .response(context),
    }
}
