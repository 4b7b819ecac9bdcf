//! What a request asks a token for: the resource, the identity extras, and the key to bind it to.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;

use super::directory::{Directory, GRAPH};
use super::error::Aadsts;
use super::refusals;
use crate::request::Fields;

/// The scopes that ask for no resource.
const OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The resource as the request wrote it, which is how the token's audience reads.
    pub(super) resource: String,
    /// The permission on it.
    pub(super) permission: String,
    /// Whether an ID token is wanted.
    pub(super) openid: bool,
    /// Whether a refresh token is wanted.
    pub(super) offline: bool,
    /// Whether the account's ids are wanted.
    pub(super) client_info: bool,
    /// The `cnf` of a proof-of-possession token.
    pub(super) confirmation: Option<Value>,
}

impl Asked {
    /// Reads `form`; `fallback` is the scope that the grant was made with.
    pub(super) fn read(
        form: &Fields,
        fallback: Option<&str>,
        directory: &Directory,
    ) -> Result<Self, Aadsts> {
        let scope = form
            .get("scope")
            .or(fallback)
            .ok_or_else(|| refusals::missing("scope"))?;
        let mut found: Option<(&str, &str)> = None;
        for part in scope.split_ascii_whitespace() {
            if OPENID.contains(&part) {
                continue;
            }
            // A scope without a resource is a permission of Graph.
            let (resource, permission) = part.rsplit_once('/').unwrap_or((GRAPH, part));
            if found.is_some_and(|(earlier, _)| earlier != resource) {
                return Err(refusals::several_resources(scope));
            }
            found = Some((resource, permission));
        }
        let (resource, permission) = found.unwrap_or((GRAPH, "User.Read"));
        if !directory.knows_resource(resource) {
            return Err(refusals::unknown_resource(resource, &directory.tenant));
        }
        let asks = |name| scope.split_ascii_whitespace().any(|part| part == name);
        Ok(Self {
            resource: resource.to_owned(),
            permission: permission.to_owned(),
            openid: asks("openid"),
            offline: asks("offline_access"),
            client_info: form.get("client_info") == Some("1"),
            confirmation: confirmation(form)?,
        })
    }

    /// The permission that a user's token says it carries.
    pub(super) fn granted_permission(&self) -> &str {
        match self.permission.as_str() {
            ".default" => "user_impersonation",
            other => other,
        }
    }

    /// The `scope` of the answer.
    pub(super) fn granted(&self) -> String {
        let (resource, permission) = (&self.resource, self.granted_permission());
        if permission == self.permission {
            format!("{resource}/{permission}")
        } else {
            format!("{resource}/{permission} {resource}/{}", self.permission)
        }
    }
}

/// The authentication contexts that the `claims` of a request ask the sign-in to satisfy. The
/// emulator's users always can.
pub(super) fn contexts(form: &Fields) -> Result<Vec<String>, Aadsts> {
    let Some(claims) = form.get("claims") else {
        return Ok(Vec::new());
    };
    let claims: Value = serde_json::from_str(claims).map_err(|_| refusals::malformed())?;
    let asked = &claims["access_token"]["acrs"];
    let values = asked["values"].as_array().into_iter().flatten();
    let all = values.chain([&asked["value"]]);
    Ok(all.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The key that a token is to be bound to: `req_cnf` is JSON in base64url.
fn confirmation(form: &Fields) -> Result<Option<Value>, Aadsts> {
    let pop = form
        .get("token_type")
        .is_some_and(|kind| kind.eq_ignore_ascii_case("pop"));
    if !pop {
        return Ok(None);
    }
    let encoded = form
        .get("req_cnf")
        .ok_or_else(|| refusals::missing("req_cnf"))?;
    let decoded = BASE64_URL_SAFE_NO_PAD
        .decode(encoded)
        .ok()
        .and_then(|json| serde_json::from_slice::<Value>(&json).ok())
        .filter(|value| value.get("kid").is_some_and(Value::is_string));
    decoded.map(Some).ok_or_else(refusals::malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;

    fn asked(form: &str) -> Result<Asked, u32> {
        let directory = Directory::demo(Names::new(1));
        Asked::read(&Fields::parse(form.as_bytes()), None, &directory)
            .map_err(|refusal| refusal.number)
    }

    #[test]
    fn the_audience_is_the_resource_as_written() {
        let resource = |form: &str| asked(form).map(|asked| asked.resource);
        assert_eq!(
            resource("scope=https://management.core.windows.net//.default+offline_access"),
            Ok("https://management.core.windows.net/".to_owned())
        );
        assert_eq!(
            resource("scope=6256c85f-0aad-4d50-b960-e6e9b21efe35/.default"),
            Ok("6256c85f-0aad-4d50-b960-e6e9b21efe35".to_owned())
        );
        assert_eq!(resource("scope=openid+profile"), Ok(GRAPH.to_owned()));
    }

    #[test]
    fn what_cannot_be_granted_is_refused_by_number() {
        assert_eq!(
            asked("scope=https://example.com/.default").err(),
            Some(500_011)
        );
        assert_eq!(asked("").err(), Some(900_144));
        let both = "scope=https://management.azure.com/.default+User.Read";
        assert_eq!(asked(both).err(), Some(28_000));
        assert_eq!(asked("scope=openid&token_type=pop").err(), Some(900_144));
        assert_eq!(
            asked("scope=openid&token_type=pop&req_cnf=bm90IGpzb24").err(),
            Some(9_002_313)
        );
    }
}
