//! Fuzz targets: what Azure Resource Manager and az wrote.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use super::cloud::Cloud;
use super::id::ClusterId;
use super::profile::{self, Profile};
use super::types::{Cluster, ErrorDocument, Page, Subscription};
use super::{challenge, discovery, metadata};
use crate::net::Answer;

/// ARM's answers but for relay credentials, and the ids in them.
pub(crate) fn arm(data: &[u8]) {
    let _ = serde_json::from_slice::<Page<Subscription>>(data);
    let _ = serde_json::from_slice::<ErrorDocument>(data);
    if let Ok(cluster) = serde_json::from_slice::<Cluster>(data) {
        id(&cluster.id);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        id(text);
    }
}

fn id(text: &str) {
    if let Ok(id) = text.parse::<ClusterId>() {
        let printed = id.to_string();
        assert!(printed.eq_ignore_ascii_case(&format!("/{}", text.trim_matches('/'))));
        let again: ClusterId = printed.parse().expect("what it prints it reads");
        assert_eq!((again.hash(), &again), (id.hash(), &id));
    }
}

/// `WWW-Authenticate`, `Retry-After` and `Date`.
pub(crate) fn challenge(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let names = [header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::DATE];
    let headers: HeaderMap = names
        .map(|name| (name, value.clone()))
        .into_iter()
        .collect();
    if let Some(tenant) = discovery::named(&headers) {
        assert_eq!(tenant.len(), 36);
    }
    let clock = crate::clock::Clock::fixed(1_790_000_000);
    clock.learn(&headers);
    let _ = clock.now();
    let answer = Answer {
        status: StatusCode::UNAUTHORIZED,
        headers,
        body: Bytes::new(),
    };
    let _ = answer.retry_after();
    if let Some(claims) = challenge::claims(&answer) {
        serde_json::from_str::<serde_json::Map<_, _>>(&claims).expect("claims are an object");
    }
    if let Ok(text) = value.to_str() {
        let found = challenge::parameter(text, "claims").unwrap_or_default();
        assert!(found.len() <= text.len());
    }
}

/// A cloud file, and a cloud's own metadata.
pub(crate) fn cloud(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(cloud) = Cloud::parse(text)
    {
        is_usable(&cloud);
    }
    let arm = Url::parse("https://arm.lab.example").expect("a literal URL");
    if let Ok(cloud) = metadata::read(data, &arm) {
        assert_eq!(cloud.resource_manager, arm);
        is_usable(&cloud);
    }
}

fn is_usable(cloud: &Cloud) {
    for url in [&cloud.resource_manager, &cloud.authority] {
        assert!(url.scheme() == "https" && url.has_host());
    }
    let _ = cloud.server_app_scope();
    let _ = cloud.resource_manager_scope();
    // A relay of this cloud is below its suffix and nowhere else.
    if let Ok((host, port)) = cloud.relay("r-1") {
        assert!(host.starts_with("r-1."), "{host}");
        assert!(cloud.is_relay(&host, port), "{host}:{port}");
        assert!(!cloud.is_relay(&host[4..], port));
    }
    for name in ["", "a.b", "a/b", "a@b", "a:1", "a#", "é", "a b"] {
        assert!(cloud.relay(name).is_err());
    }
}

/// az's files: the list of subscriptions, and what Python's `configparser` writes.
pub(crate) fn az(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(value) = profile::option(text, "cloud", "name") {
        assert!(!value.is_empty() && text.contains(&value));
    }
    if let Ok(profile) = Profile::parse(text) {
        let _ = (profile.default_subscription(), profile.named("a"));
        let found = [
            profile.account(Some("a"), None),
            profile.account(None, Some("a")),
            profile.account(None, None),
        ];
        for account in found.into_iter().flatten() {
            let _ = (account.user.is_machine(), account.user.shown());
        }
        let _ = profile.of_cloud("AzureCloud").is_empty();
    }
}
