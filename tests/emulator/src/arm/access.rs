//! Who calls: ARM's check of the bearer token.

use http::HeaderMap;
use serde_json::Value;

use super::error::{self, ArmError};
use crate::entra::Keys;
use crate::request;

/// The one who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// A user's name, or an app's client id: what a refusal calls the caller.
    pub(super) name: String,
    /// The caller's object id.
    pub(super) object_id: String,
}

/// What a good token looks like.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) keys: &'a Keys,
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
    pub(super) context: Option<&'a str>,
    pub(super) now: u64,
}

/// Checks the request's token.
pub(super) fn authenticate(
    headers: &HeaderMap,
    expected: &Expected<'_>,
) -> Result<Caller, ArmError> {
    let authorization = request::header(headers, "authorization").ok_or_else(error::no_token)?;
    let token = authorization
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(error::not_bearer)?;
    let claims = expected.keys.read(token).ok_or_else(error::invalid_token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let issuer = text("iss").unwrap_or_default();
    if issuer != expected.issuer {
        return Err(error::wrong_issuer(issuer, expected.issuer));
    }
    let audience = text("aud").unwrap_or_default();
    if !expected.audiences.iter().any(|known| known == audience) {
        return Err(error::wrong_audience(audience, expected.audiences));
    }
    let expiry = claims.get("exp").and_then(Value::as_u64).unwrap_or(0);
    if expiry <= expected.now {
        return Err(error::expired_token(expiry, expected.now));
    }
    if let Some(context) = expected.context {
        let shown = claims.get("acrs").and_then(Value::as_array);
        if !shown.is_some_and(|shown| shown.iter().any(|one| one == context)) {
            return Err(error::insufficient_claims(context));
        }
    }
    // A token that is bound to a key is not a bearer token.
    let object_id = text("oid").filter(|_| claims.get("cnf").is_none());
    Ok(Caller {
        name: text("upn").or(text("appid")).unwrap_or_default().to_owned(),
        object_id: object_id.ok_or_else(error::invalid_token)?.to_owned(),
    })
}
