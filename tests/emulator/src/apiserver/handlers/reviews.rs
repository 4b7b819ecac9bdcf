//! Questions to the server about callers: who am I, may I, and tokens.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::auth::User;
use super::super::authz::Access;
use super::super::status::{Result, Status};
use super::super::{Server, clock, value};
use super::{Call, read};
use crate::http::{Body, json as json_answer};

/// How long a requested token lives that does not say, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Answers a review.
pub(super) fn answer(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    if call.method != http::Method::POST || !call.target.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let mut review = call.object(body)?;
    let user = &call.user;
    let status = match call.target.resource.plural {
        "selfsubjectreviews" => json!({ "userInfo": user.info() }),
        "selfsubjectaccessreviews" => verdict(server, user, &review["spec"]),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            verdict(server, &subject(&review["spec"]), &review["spec"])
        }
        "selfsubjectrulesreviews" => rules(server, user, value::text(&review, "/spec/namespace")),
        "tokenreviews" => token_review(server, value::text(&review, "/spec/token")),
        _ => return Err(Status::no_route()),
    };
    review["apiVersion"] = json!(call.target.resource.api_version());
    review["kind"] = json!(call.target.resource.kind);
    value::set_default(&mut review, &["metadata", "creationTimestamp"], Value::Null);
    review["status"] = status;
    Ok(json_answer(StatusCode::CREATED, &review))
}

fn subject(spec: &Value) -> User {
    let groups = value::list(spec, "/groups")
        .iter()
        .filter_map(Value::as_str);
    User {
        name: value::text(spec, "/user").to_owned(),
        uid: value::text(spec, "/uid").to_owned(),
        groups: groups.map(str::to_owned).collect(),
        ..User::default()
    }
}

fn verdict(server: &Server, user: &User, spec: &Value) -> Value {
    let access = if value::has(spec, "/nonResourceAttributes") {
        let text = |field: &str| value::text(&spec["nonResourceAttributes"], field);
        Access::to_path(text("/path"), text("/verb"))
    } else {
        let text = |field: &str| value::text(&spec["resourceAttributes"], field).to_owned();
        let subresource = text("/subresource");
        let resource = if subresource.is_empty() {
            text("/resource")
        } else {
            format!("{}/{subresource}", text("/resource"))
        };
        Access {
            verb: text("/verb"),
            group: text("/group"),
            resource,
            namespace: text("/namespace"),
            name: text("/name"),
            path: None,
        }
    };
    json!({ "allowed": server.authorizer.allows(user, &access) })
}

fn rules(server: &Server, user: &User, namespace: &str) -> Value {
    let (plain, resources): (Vec<Value>, Vec<Value>) = server
        .authorizer
        .rules(user, namespace)
        .into_iter()
        .partition(|rule| value::has(rule, "/nonResourceURLs"));
    json!({ "resourceRules": resources, "nonResourceRules": plain, "incomplete": false })
}

fn token_review(server: &Server, token: &str) -> Value {
    let now = server.store.now().as_second();
    match server.tokens.identify(token, now) {
        Some(user) => json!({ "authenticated": true, "user": user.info() }),
        None => json!({ "authenticated": false, "error": "invalid bearer token" }),
    }
}

/// Issues a token for a service account.
pub(super) fn token(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let account = read::found(server, call)?;
    let mut request = call.object(body)?;
    let audiences: Vec<String> = value::list(&request, "/spec/audiences")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let seconds = match value::int(&request, "/spec/expirationSeconds") {
        0 => TOKEN_SECONDS,
        seconds => seconds,
    };
    if seconds > 1 << 32 {
        return Err(Status::unprocessable(
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Too long: may not specify a duration larger than 2^32 seconds",
        ));
    }
    if seconds < 600 {
        return Err(Status::unprocessable(
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes",
        ));
    }
    let now = server.store.now();
    let ends = now
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(now);
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["kind"] = json!("TokenRequest");
    request["metadata"] = json!({
        "name": value::name(&account),
        "namespace": value::namespace(&account),
        "creationTimestamp": clock::stamp(now),
    });
    value::set(&mut request, &["spec", "expirationSeconds"], seconds);
    request["status"] = json!({
        "token": server.tokens.issue(&account, &audiences, now.as_second(), seconds),
        "expirationTimestamp": clock::stamp(ends),
    });
    Ok(json_answer(StatusCode::CREATED, &request))
}
