//! Who calls: bearer tokens, service-account tokens and impersonation.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::status::{Result, Status};
use super::value;

/// The issuer of the cluster's service-account tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The account as which kube-aad-proxy calls.
const IMPERSONATOR: &str = "system:serviceaccount:azure-arc:azure-arc-kube-aad-proxy-sa";

/// A caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    /// The name.
    pub(super) name: String,
    /// The UID, if there is one.
    pub(super) uid: String,
    /// The groups.
    pub(super) groups: Vec<String>,
    /// Whatever else is known.
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether the caller is in `group`.
    pub(super) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            extra: BTreeMap::new(),
        }
    }

    /// The caller as reviews show them.
    pub(super) fn info(&self) -> Value {
        let mut info = json!({ "username": self.name, "groups": self.groups });
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// A caller that another one speaks for, and what has to be allowed for that.
#[derive(Debug)]
pub(super) struct Impersonation {
    /// The caller that is spoken for.
    pub(super) user: User,
    /// Group, resource, namespace and name of everything that is impersonated.
    pub(super) asks: Vec<(&'static str, String, String, String)>,
}

/// The tokens that are accepted.
pub(super) struct Tokens {
    admin: String,
    impersonator: String,
    key: EcdsaKeyPair,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Fresh tokens.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            admin: uuid::Uuid::new_v4().simple().to_string(),
            impersonator: uuid::Uuid::new_v4().simple().to_string(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map_err(std::io::Error::other)?,
        })
    }

    /// The token of a cluster administrator.
    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    /// The token that may impersonate anyone and nothing else.
    pub(super) fn impersonator(&self) -> &str {
        &self.impersonator
    }

    /// Makes a token for a service account; `now` and `seconds` bound its life.
    pub(super) fn issue(
        &self,
        account: &Value,
        audiences: &[String],
        now: i64,
        seconds: i64,
    ) -> String {
        let audiences = if audiences.is_empty() {
            vec![ISSUER.to_owned()]
        } else {
            audiences.to_vec()
        };
        let (namespace, name) = (value::namespace(account), value::name(account));
        let claims = json!({
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": ISSUER,
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": { "name": name, "uid": value::uid(account) },
            },
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let header = json!({ "alg": "ES256", "kid": self.key_id() });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("a P-256 key signs any message");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.key.public_key().as_ref()))
    }

    /// Tells whose token this is, at `now`.
    pub(super) fn identify(&self, token: &str, now: i64) -> Option<User> {
        if token == self.admin {
            return Some(User {
                name: "kubernetes-admin".to_owned(),
                groups: vec![
                    "system:masters".to_owned(),
                    "system:authenticated".to_owned(),
                ],
                ..User::default()
            });
        }
        if token == self.impersonator {
            let (namespace, name) = account_of(IMPERSONATOR)?;
            return Some(User::service_account(namespace, name, ""));
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        if value::int(&claims, "/exp") <= now || value::text(&claims, "/iss") != ISSUER {
            return None;
        }
        let account = claims.pointer("/kubernetes.io")?;
        let mut user = User::service_account(
            value::text(account, "/namespace"),
            value::text(account, "/serviceaccount/name"),
            value::text(account, "/serviceaccount/uid"),
        );
        user.extra.insert(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("JTI={}", value::text(&claims, "/jti"))],
        );
        Some(user)
    }
}

/// Namespace and name of a service account's user name.
pub(super) fn account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// Reads the impersonation headers.
pub(super) fn impersonation(headers: &HeaderMap) -> Result<Option<Impersonation>> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let name = text("impersonate-user");
    let uid = text("impersonate-uid");
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, wanted) in headers {
        if let Some(key) = header.as_str().strip_prefix("impersonate-extra-")
            && let Ok(wanted) = wanted.to_str()
        {
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(wanted.to_owned());
        }
    }
    if name.is_empty() {
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal(
            "Internal error occurred: requested impersonation of groups, a UID or extras without impersonating a user",
        ));
    }
    let mut asks = Vec::new();
    let mut user = match account_of(&name) {
        Some((namespace, account)) => {
            asks.push((
                "",
                "serviceaccounts".to_owned(),
                namespace.to_owned(),
                account.to_owned(),
            ));
            User::service_account(namespace, account, "")
        }
        None => {
            asks.push(("", "users".to_owned(), String::new(), name.clone()));
            User {
                name: name.clone(),
                ..User::default()
            }
        }
    };
    if !groups.is_empty() {
        user.groups.clone_from(&groups);
    }
    for group in groups {
        asks.push(("", "groups".to_owned(), String::new(), group));
    }
    if !uid.is_empty() {
        let group = "authentication.k8s.io";
        asks.push((group, "uids".to_owned(), String::new(), uid.clone()));
        user.uid = uid;
    }
    for (key, values) in &extra {
        for wanted in values {
            let resource = format!("userextras/{key}");
            asks.push((
                "authentication.k8s.io",
                resource,
                String::new(),
                wanted.clone(),
            ));
        }
    }
    user.extra = extra;
    let everyone = if name == "system:anonymous" {
        "system:unauthenticated"
    } else {
        "system:authenticated"
    };
    if !user.is_in(everyone) {
        user.groups.push(everyone.to_owned());
    }
    Ok(Some(Impersonation { user, asks }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_service_account_token_tells_its_account_until_it_expires() {
        let tokens = Tokens::new().unwrap();
        let account =
            json!({ "metadata": { "namespace": "demo", "name": "deployer", "uid": "u" } });
        let token = tokens.issue(&account, &[], 1000, 60);
        let user = tokens.identify(&token, 1059).unwrap();
        assert_eq!(user.name, "system:serviceaccount:demo:deployer");
        assert!(user.is_in("system:serviceaccounts:demo"));
        assert_eq!(tokens.identify(&token, 1060), None);
    }

    #[test]
    fn a_token_of_another_key_tells_nobody() {
        let account = json!({ "metadata": { "namespace": "demo", "name": "deployer" } });
        let token = Tokens::new().unwrap().issue(&account, &[], 1000, 60);
        assert_eq!(Tokens::new().unwrap().identify(&token, 1001), None);
    }

    #[test]
    fn impersonation_carries_groups_and_extras() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "impersonate-user",
            HeaderValue::from_static("ana@contoso.com"),
        );
        headers.append("impersonate-group", HeaderValue::from_static("one"));
        headers.append("impersonate-group", HeaderValue::from_static("two"));
        headers.insert("impersonate-extra-oid", HeaderValue::from_static("42"));
        let found = impersonation(&headers).unwrap().unwrap();
        assert_eq!(found.user.groups, ["one", "two", "system:authenticated"]);
        assert_eq!(found.user.extra["oid"], ["42"]);
        assert_eq!(found.asks.len(), 4);
    }

    #[test]
    fn groups_without_a_user_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-group", HeaderValue::from_static("one"));
        assert_eq!(impersonation(&headers).unwrap_err().code(), 500);
    }
}
