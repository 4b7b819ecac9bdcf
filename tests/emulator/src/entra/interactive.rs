//! Sign-ins that a person takes part in: the authorize page and the device pages.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use super::State;
use super::directory::App;
use super::error::{Aadsts, Context};
use super::grants::{DEVICE_SECONDS, Grant, POLL_INTERVAL, Verdict};
use super::pages;
use super::refusals;
use super::scope::{Asked, contexts};
use super::token::is_any_tenant;
use crate::http::{Body, empty};
use crate::request::Fields;

/// The page that public clients may name as their own without listening anywhere.
const NATIVE_CLIENT: &str = "/common/oauth2/nativeclient";

/// What the user did on the page.
enum Choice {
    SignIn(String),
    Decline,
}

/// Answers the authorize page, first without and then with the user's choice.
pub(super) fn authorize(
    state: &State,
    tenant: &str,
    query: &Fields,
    context: &Context<'_>,
) -> Response<Body> {
    match prepare(state, tenant, query) {
        Err(refusal) => pages::message(
            StatusCode::BAD_REQUEST,
            "Sorry, but we're having trouble signing you in.",
            &refusal.description(context),
        ),
        Ok((app, redirect)) => match choice(state, query) {
            Some(choice) => {
                let outcome = decide(state, &app, query, choice);
                send_back(&redirect, query, outcome, context)
            }
            None if query.get("prompt") == Some("none") => {
                send_back(&redirect, query, Err(refusals::no_session()), context)
            }
            None => {
                let action = format!("{}/{tenant}/oauth2/v2.0/authorize", state.url());
                let fields: Vec<_> = query.iter().collect();
                pages::choose_user(&action, &app.name, &fields, &state.directory().users)
            }
        },
    }
}

/// Checks what cannot be answered at the redirect address, because it may be someone else's.
fn prepare(state: &State, tenant: &str, query: &Fields) -> Result<(App, Url), Aadsts> {
    let directory = state.directory();
    if !is_any_tenant(tenant) && !directory.is_tenant(tenant) {
        return Err(refusals::unknown_tenant(tenant));
    }
    let required = |name| query.get(name).ok_or_else(|| refusals::missing(name));
    let client_id = required("client_id")?;
    let app = directory
        .app(client_id)
        .ok_or_else(|| refusals::unknown_app(client_id, &directory.tenant))?;
    let redirect = required("redirect_uri")?;
    let url = Url::parse(redirect)
        .ok()
        .filter(|url| is_registered(url, state.url()))
        .ok_or_else(|| refusals::unknown_redirect(redirect, client_id))?;
    if required("response_type")? != "code" {
        return Err(refusals::malformed());
    }
    Ok((app.clone(), url))
}

/// Every client has `http://localhost` registered, which stands for any port but for no path.
fn is_registered(redirect: &Url, authority: &str) -> bool {
    let loopback = redirect.scheme() == "http"
        && redirect.host_str() == Some("localhost")
        && redirect.path() == "/";
    loopback || redirect.as_str() == format!("{authority}{NATIVE_CLIENT}")
}

fn choice(state: &State, query: &Fields) -> Option<Choice> {
    if query.get("decline").is_some() {
        return Some(Choice::Decline);
    }
    let picked = query.get("username").map(str::to_owned);
    picked.or_else(|| state.person()).map(Choice::SignIn)
}

fn decide(state: &State, app: &App, query: &Fields, choice: Choice) -> Result<String, Aadsts> {
    let Choice::SignIn(upn) = choice else {
        return Err(refusals::declined());
    };
    let directory = state.directory();
    let user = directory.user(&upn).ok_or_else(refusals::no_session)?;
    let scope = query
        .get("scope")
        .ok_or_else(|| refusals::missing("scope"))?;
    Asked::read(query, None, &directory)?;
    let challenge = query.get("code_challenge");
    let method = query.get("code_challenge_method").unwrap_or("plain");
    if challenge.is_some() && method != "S256" {
        return Err(refusals::malformed());
    }
    let grant = Grant {
        upn: user.upn.clone(),
        client_id: app.client_id.clone(),
        scope: scope.to_owned(),
        nonce: query.get("nonce").map(str::to_owned),
        contexts: contexts(query)?,
    };
    let redirect_uri = query.get("redirect_uri").unwrap_or_default();
    let now = state.faults.cloud_time();
    Ok(state.grants().add_code(grant, redirect_uri, challenge, now))
}

fn send_back(
    redirect: &Url,
    query: &Fields,
    outcome: Result<String, Aadsts>,
    context: &Context<'_>,
) -> Response<Body> {
    let mut fields: Vec<(&str, String)> = match outcome {
        Ok(code) => vec![("code", code)],
        Err(refusal) => vec![
            ("error", refusal.error.to_owned()),
            ("error_description", refusal.description(context)),
        ],
    };
    if let Some(state) = query.get("state") {
        fields.push(("state", state.to_owned()));
    }
    fields.push(("session_state", context.trace_id.to_owned()));
    match query.get("response_mode") {
        Some("form_post") => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            pages::post_back(redirect.as_str(), &fields)
        }
        mode => {
            let encoded = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&fields)
                .finish();
            let mut target = redirect.clone();
            if mode == Some("fragment") {
                target.set_fragment(Some(&encoded));
            } else {
                target.set_query(Some(&encoded));
            }
            found(target.as_str())
        }
    }
}

fn found(target: &str) -> Response<Body> {
    let mut response = Response::new(empty());
    match HeaderValue::from_str(target) {
        Ok(target) => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, target);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// Starts a sign-in on another device.
pub(super) fn start_device(state: &State, tenant: &str, form: &Fields) -> Result<Value, Aadsts> {
    let directory = state.directory();
    if !is_any_tenant(tenant) && !directory.is_tenant(tenant) {
        return Err(refusals::unknown_tenant(tenant));
    }
    let client_id = form
        .get("client_id")
        .ok_or_else(|| refusals::missing("client_id"))?;
    if directory.app(client_id).is_none() {
        return Err(refusals::unknown_app(client_id, &directory.tenant));
    }
    let scope = form
        .get("scope")
        .ok_or_else(|| refusals::missing("scope"))?;
    Asked::read(form, None, &directory)?;
    let now = state.faults.cloud_time();
    let (device_code, user_code) =
        state
            .grants()
            .add_device(client_id, scope, contexts(form)?, now);
    let page = format!("{}/common/oauth2/deviceauth", state.url());
    Ok(json!({
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri": page,
        "expires_in": DEVICE_SECONDS,
        "interval": POLL_INTERVAL.as_secs(),
        "message": format!(
            "To sign in, use a web browser to open the page {page} and enter the code {user_code} \
             to authenticate."
        ),
    }))
}

/// Answers the page on which a device's sign-in is approved.
pub(super) fn device_page(state: &State, fields: &Fields) -> Response<Body> {
    let code = fields.get("user_code").unwrap_or_default();
    let verdict = match (fields.get("decline"), fields.get("username")) {
        (Some(_), _) => Verdict::Declined,
        (None, Some(upn)) if state.directory().user(upn).is_some() => {
            Verdict::Approved(upn.to_owned())
        }
        _ => return pages::approve_device(code, &state.directory().users),
    };
    if state.grants().decide_device(code, verdict) {
        let text = "You can close this page and go back to the device.";
        pages::message(StatusCode::OK, "Done", text)
    } else {
        let text = "That code didn't work. Check the code and try again.";
        pages::message(StatusCode::BAD_REQUEST, "Enter code", text)
    }
}
