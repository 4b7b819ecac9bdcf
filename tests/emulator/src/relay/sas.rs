//! Shared access signatures: the tokens of the relay.
//!
//! A token names a resource, an end and a key, and is signed over the first two. Keys are derived
//! from one secret of the run, so that a token can be made for any path and none is ever stored.
//! Of a resource's host only the namespace counts, because an emulated namespace answers under
//! any suffix.

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// What JavaScript's `encodeURIComponent` leaves alone, as Azure's Node SDK does.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

const SCHEME: &str = "SharedAccessSignature ";

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Send,
    Listen,
}

impl Right {
    fn key_name(self) -> &'static str {
        match self {
            Self::Send => "sender",
            Self::Listen => "listener",
        }
    }

    /// The name of the right in the relay's messages.
    fn claim(self) -> &'static str {
        match self {
            Self::Send => "Send",
            Self::Listen => "Listen",
        }
    }

    fn of_key(name: &str) -> Option<Self> {
        [Self::Send, Self::Listen]
            .into_iter()
            .find(|right| right.key_name() == name)
    }
}

/// Why a token does not open a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    Missing,
    Malformed,
    Signature,
    /// It ended at this time, seconds since 1970.
    Expired(u64),
    /// It is for another path.
    Audience,
    /// Its key does not carry the right.
    Claim(&'static str),
}

/// The keys of all paths of one run.
pub(super) struct Keys {
    secret: hmac::Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Fresh keys.
    pub(super) fn new() -> Self {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .expect("the system has random numbers");
        Self { secret }
    }

    /// The text of the key that carries `right` on `path` in `namespace`.
    fn key(&self, right: Right, namespace: &str, path: &str) -> String {
        let name = format!(
            "{}\n{}\n{}",
            right.key_name(),
            namespace.to_lowercase(),
            path.to_lowercase()
        );
        STANDARD.encode(hmac::sign(&self.secret, name.as_bytes()))
    }

    /// A token for `path` in `namespace` that carries `right` until `end`.
    pub(super) fn token(&self, right: Right, namespace: &str, path: &str, end: u64) -> String {
        let path = path.trim_matches('/');
        let resource = format!("http://{namespace}.servicebus.localhost/{path}");
        token(
            &resource,
            right.key_name(),
            &self.key(right, namespace, path),
            end,
        )
    }

    /// Checks that `token` carries `right` on `path` in `namespace` at the time `now`; says when
    /// it ends.
    pub(super) fn check(
        &self,
        token: Option<&str>,
        right: Right,
        namespace: &str,
        path: &str,
        now: u64,
    ) -> Result<u64, Denial> {
        let token = Token::parse(token.ok_or(Denial::Missing)?).ok_or(Denial::Malformed)?;
        let granted = Right::of_key(&token.key_name).ok_or(Denial::Signature)?;
        let key = self.key(granted, &token.namespace, &token.path);
        if !token.is_signed_with(&key) {
            return Err(Denial::Signature);
        }
        if token.end <= now {
            return Err(Denial::Expired(token.end));
        }
        if !token.covers(namespace, path) {
            return Err(Denial::Audience);
        }
        if granted != right {
            return Err(Denial::Claim(right.claim()));
        }
        Ok(token.end)
    }
}

/// Makes a token for `resource`, signed with `key`.
fn token(resource: &str, key_name: &str, key: &str, end: u64) -> String {
    let resource = utf8_percent_encode(resource, COMPONENT).to_string();
    let signature = STANDARD.encode(hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
        format!("{resource}\n{end}").as_bytes(),
    ));
    let signature = utf8_percent_encode(&signature, COMPONENT);
    let key_name = utf8_percent_encode(key_name, COMPONENT);
    format!("{SCHEME}sr={resource}&sig={signature}&se={end}&skn={key_name}")
}

/// A token, taken apart.
#[derive(Debug)]
struct Token {
    /// What was signed: the resource in the encoding that its maker chose, and the end.
    signed: String,
    signature: Vec<u8>,
    end: u64,
    key_name: String,
    namespace: String,
    path: String,
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let (mut resource, mut signature, mut end, mut key_name) = (None, None, None, None);
        for field in text.strip_prefix(SCHEME)?.split('&') {
            let (name, value) = field.split_once('=')?;
            match name {
                "sr" => resource = Some(value),
                "sig" => signature = Some(decode(value)?),
                "se" => end = Some(value),
                "skn" => key_name = Some(decode(value)?),
                _ => {}
            }
        }
        let (resource, end) = (resource?, end?);
        let address = Url::parse(&decode(resource)?).ok()?;
        Some(Self {
            signed: format!("{resource}\n{end}"),
            signature: STANDARD.decode(signature?).ok()?,
            end: end.parse().ok()?,
            key_name: key_name?,
            namespace: namespace_of(address.host_str()?).to_lowercase(),
            path: decode(address.path())?.trim_matches('/').to_lowercase(),
        })
    }

    fn is_signed_with(&self, key: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok()
    }

    /// A token opens its own path and everything below it.
    fn covers(&self, namespace: &str, path: &str) -> bool {
        let path = path.trim_matches('/').to_lowercase();
        self.namespace == namespace.to_lowercase()
            && match path.strip_prefix(&self.path) {
                Some(rest) => rest.is_empty() || rest.starts_with('/') || self.path.is_empty(),
                None => false,
            }
    }
}

/// The namespace that a host name belongs to.
pub(super) fn namespace_of(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

fn decode(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::Value;

    use super::*;

    fn vectors() -> Vec<Value> {
        let file: Value = serde_json::from_str(include_str!("../../../fixtures/sas.json")).unwrap();
        file["tokens"].as_array().unwrap().clone()
    }

    #[test]
    fn tokens_are_those_of_the_node_sdk() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let end = vector["now_ms"].as_u64().unwrap() / 1000 + 3600;
            assert_eq!(
                token(text("uri"), text("keyName"), text("key"), end),
                text("token")
            );
            let parsed = Token::parse(text("token")).unwrap();
            assert!(parsed.is_signed_with(text("key")));
            assert!(!parsed.is_signed_with("another key"));
            assert_eq!(parsed.end, end);
        }
    }

    #[test]
    fn a_token_opens_its_path_and_what_is_below() {
        let keys = Keys::new();
        let token = keys.token(Right::Send, "contoso", "Clusters/A/1", 2000);
        let check = |namespace, path| keys.check(Some(&token), Right::Send, namespace, path, 1000);
        assert_eq!(check("contoso", "clusters/a/1"), Ok(2000));
        assert_eq!(check("CONTOSO", "/Clusters/A/1/"), Ok(2000));
        assert_eq!(check("contoso", "clusters/a/1/suffix"), Ok(2000));
        assert_eq!(check("contoso", "clusters/a/11"), Err(Denial::Audience));
        assert_eq!(check("contoso", "clusters/a"), Err(Denial::Audience));
        assert_eq!(check("fabrikam", "clusters/a/1"), Err(Denial::Audience));
    }

    #[test]
    fn case_slash_scheme_and_port_of_the_resource_do_not_matter() {
        let keys = Keys::new();
        let key = keys.key(Right::Send, "contoso", "hyco");
        for resource in [
            "http://contoso.servicebus.windows.net/hyco/",
            "https://CONTOSO.servicebus.windows.net/HYCO",
            "sb://contoso.servicebus.windows.net:443/hyco",
            "wss://contoso.localhost:8443/hyco/",
        ] {
            let token = token(resource, "sender", &key, 2000);
            let checked = keys.check(Some(&token), Right::Send, "contoso", "hyco", 1000);
            assert_eq!(checked, Ok(2000), "{resource}");
            // .NET writes escapes in lower case, and signs what it writes.
            let lower = resource.replace(':', "%3a").replace('/', "%2f");
            let signature = STANDARD.encode(hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
                format!("{lower}\n2000").as_bytes(),
            ));
            let signature = utf8_percent_encode(&signature, COMPONENT);
            let token = format!("{SCHEME}sr={lower}&sig={signature}&se=2000&skn=sender");
            let checked = keys.check(Some(&token), Right::Send, "contoso", "hyco", 1000);
            assert_eq!(checked, Ok(2000), "{lower}");
        }
    }

    #[test]
    fn a_token_is_refused_for_what_is_wrong_with_it() {
        let keys = Keys::new();
        let good = keys.token(Right::Send, "contoso", "hyco", 2000);
        let check =
            |token: Option<&str>, right, now| keys.check(token, right, "contoso", "hyco", now);
        assert_eq!(check(None, Right::Send, 1000), Err(Denial::Missing));
        let no_scheme = good.strip_prefix(SCHEME);
        assert_eq!(check(no_scheme, Right::Send, 1000), Err(Denial::Malformed));
        let longer = good.replace("se=2000", "se=9999");
        assert_eq!(
            check(Some(&longer), Right::Send, 1000),
            Err(Denial::Signature)
        );
        let other_key = good.replace("skn=sender", "skn=root");
        assert_eq!(
            check(Some(&other_key), Right::Send, 1000),
            Err(Denial::Signature)
        );
        assert_eq!(
            check(Some(&good), Right::Send, 2000),
            Err(Denial::Expired(2000))
        );
        assert_eq!(
            check(Some(&good), Right::Listen, 1000),
            Err(Denial::Claim("Listen"))
        );
    }
}
