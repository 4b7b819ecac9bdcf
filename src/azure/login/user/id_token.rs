//! What an ID token says of the person.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// The claims of an ID token for `client_id`; none of a token for another client. It came straight
/// from Entra over TLS, so nobody else made it: the signature is not checked (`OpenID` Connect Core
/// 1.0, 3.1.3.7).
pub(in super::super) fn claims(identity: &Secret, client_id: &str) -> Option<serde_json::Value> {
    let payload = identity.expose().split('.').nth(1)?;
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let audience = claims.get("aud")?.as_str()?;
    audience.eq_ignore_ascii_case(client_id).then_some(claims)
}

/// The name that the person of an ID token for `client_id` signs in with.
pub(in super::super) fn name(identity: &Secret, client_id: &str) -> Option<String> {
    let claims = claims(identity, client_id)?;
    let name = claims.get("preferred_username")?.as_str()?;
    // It is shown to people: nothing that could rule a terminal.
    Some(name.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_an_id_token_and_rules_no_terminal() {
        let token = |json: &str| {
            let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
            Secret::from(format!("e30.{payload}.c2ln"))
        };
        let ana = token(r#"{"aud":"C","preferred_username":"ana@contoso.com\u001b[2J"}"#);
        assert_eq!(name(&ana, "c").as_deref(), Some("ana@contoso.com[2J"));
        assert_eq!(name(&ana, "another client"), None);
        assert_eq!(name(&token(r#"{"aud":"c"}"#), "c"), None);
        let unnamed = token(r#"{"preferred_username":"ana@contoso.com"}"#);
        assert_eq!(name(&unnamed, "c"), None);
        assert_eq!(name(&Secret::from("opaque"), "c"), None);
    }
}
