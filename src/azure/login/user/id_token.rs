//! What an ID token says of the person.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// The claims of an ID token. It came straight from Entra over TLS, so nobody else made it: the
/// signature is not checked (`OpenID` Connect Core 1.0, 3.1.3.7).
pub(in super::super) fn claims(identity: &Secret) -> Option<serde_json::Value> {
    let payload = identity.expose().split('.').nth(1)?;
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    serde_json::from_slice(&json).ok()
}

/// The name that the person of an ID token signs in with.
pub(in super::super) fn name(identity: &Secret) -> Option<String> {
    let claims = claims(identity)?;
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
        let ana = token(r#"{"preferred_username":"ana@contoso.com\u001b[2J"}"#);
        assert_eq!(name(&ana).as_deref(), Some("ana@contoso.com[2J"));
        assert_eq!(name(&token("{}")), None);
        assert_eq!(name(&Secret::from("opaque")), None);
    }
}
