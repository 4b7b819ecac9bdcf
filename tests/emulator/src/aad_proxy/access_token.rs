//! The access token inside a proof: issuer, audience, time and signature, checked as the library
//! beneath guard checks them; then who the caller is.

use serde_json::{Map, Value};

use super::AccessTokenKeys;
use super::jws::Jws;

/// A caller whom Entra knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The user principal name, or the object id of a service principal.
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    pub(super) object_id: Option<String>,
    /// When the access token ends, seconds since 1970.
    pub(super) end: u64,
}

/// What guard says of a caller in more groups than a token holds.
pub(super) const OVERAGE: &str = "Error while retrieving group info. Error:Overage claim (users \
    with more than 200 group membership) is currently not supported.";

/// Verifies `token` at the time `now`.
///
/// # Errors
///
/// What guard says.
pub(super) fn verify(
    token: &str,
    issuer: &str,
    audience: &str,
    keys: &dyn AccessTokenKeys,
    now: u64,
) -> Result<Identity, String> {
    let jws = Jws::parse(token).map_err(|error| refusal(&format!("malformed jwt: {error:?}")))?;
    let end = check_claims(&jws, issuer, audience, now).map_err(|error| refusal(&error))?;
    let algorithm = jws.header_text("alg").unwrap_or_default();
    if algorithm != "RS256" {
        return Err(refusal(&format!(
            "id token signed with unsupported algorithm, expected [\"RS256\"] got {algorithm:?}"
        )));
    }
    let kid = jws.header_text("kid").unwrap_or_default();
    if !keys.verify(kid, jws.signing_input.as_bytes(), &jws.signature) {
        return Err(
            "failed to verify token for azure: failed to verify signature: failed to verify id \
             token signature"
                .to_owned(),
        );
    }
    identity(&jws.claims, end)
}

fn refusal(error: &str) -> String {
    format!("failed to verify token for azure: oidc: {error}")
}

/// When the token ends.
fn check_claims(jws: &Jws<'_>, issuer: &str, audience: &str, now: u64) -> Result<u64, String> {
    let issued_by = jws.claim_text("iss").unwrap_or_default();
    if issued_by != issuer {
        return Err(format!(
            "id token issued by a different provider, expected {issuer:?} got {issued_by:?}"
        ));
    }
    let meant_for = match jws.claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !meant_for.contains(&audience) {
        return Err(format!("expected audience {audience:?} got {meant_for:?}"));
    }
    let time = |name: &str| jws.claims.get(name).and_then(Value::as_u64);
    let end = time("exp").unwrap_or(0);
    if end < now {
        return Err(format!("token is expired (Token Expiry: {end})"));
    }
    // The library allows a clock to be five minutes behind.
    if let Some(begin) = time("nbf")
        && now + 5 * 60 < begin
    {
        return Err(format!(
            "current time {now} before the nbf (not before) time: {begin}"
        ));
    }
    Ok(end)
}

fn identity(claims: &Map<String, Value>, end: u64) -> Result<Identity, String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let user = text("upn")
        .or_else(|| text("oid"))
        .ok_or_else(|| "username: upn and objectID: oid claims not found".to_owned())?;
    if has_overage(claims) {
        return Err(OVERAGE.to_owned());
    }
    let groups = claims
        .get("groups")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    Ok(Identity {
        user,
        groups,
        object_id: text("oid"),
        end,
    })
}

/// Whether Entra left the groups out because there are too many.
fn has_overage(claims: &Map<String, Value>) -> bool {
    let distributed = claims
        .get("_claim_names")
        .is_some_and(|names| names.get("groups").is_some());
    let implicit = match claims.get("hasgroups") {
        Some(Value::Bool(has)) => *has,
        Some(Value::String(has)) => has == "true",
        _ => false,
    };
    distributed || implicit
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::super::jws::encode;
    use super::*;

    const ISSUER: &str = "https://sts.windows.net/tenant/";

    #[derive(Debug)]
    struct Signed(bool);

    impl AccessTokenKeys for Signed {
        fn verify(&self, kid: &str, _: &[u8], _: &[u8]) -> bool {
            self.0 && kid == "key"
        }
    }

    fn verdict(claims: &Value, signed: bool) -> Result<Identity, String> {
        let header = encode(br#"{"alg":"RS256","kid":"key"}"#);
        let token = format!("{header}.{}.c2ln", encode(claims.to_string().as_bytes()));
        verify(&token, ISSUER, "server", &Signed(signed), 1000)
    }

    fn claims(change: &Value) -> Value {
        let mut claims = json!({"iss": ISSUER, "aud": "server", "exp": 2000, "oid": "object"});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    #[test]
    fn a_user_is_named_by_upn_and_a_service_principal_by_object_id() {
        let user = verdict(
            &claims(&json!({"upn": "ana@contoso.com", "groups": ["a", "b"]})),
            true,
        )
        .unwrap();
        assert_eq!(user.user, "ana@contoso.com");
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.end, 2000);
        let principal = verdict(&claims(&json!({})), true).unwrap();
        assert_eq!(principal.user, "object");
    }

    #[test]
    fn a_token_is_refused_for_what_is_wrong_with_it() {
        for (change, text) in [
            (json!({"iss": "https://elsewhere/"}), "different provider"),
            (json!({"aud": ["other"]}), "expected audience \"server\""),
            (json!({"exp": 999}), "token is expired"),
            (json!({"nbf": 1301}), "before the nbf"),
            (json!({"oid": null}), "claims not found"),
            (json!({"_claim_names": {"groups": "src1"}}), "Overage claim"),
            (json!({"hasgroups": true}), "Overage claim"),
        ] {
            let error = verdict(&claims(&change), true).unwrap_err();
            assert!(error.contains(text), "{change}: {error}");
        }
        let error = verdict(&claims(&json!({})), false).unwrap_err();
        assert!(error.contains("failed to verify signature"), "{error}");
    }
}
