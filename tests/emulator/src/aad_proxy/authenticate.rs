//! Who a request is from.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{self, HeaderMap};

use super::access_token::{self, Identity, OVERAGE};
use super::jws::Jws;
use super::{AadProxyConfig, AccessTokenKeys, pop};
use crate::faults::Faults;

/// How many accepted tokens are remembered.
const REMEMBERED: usize = 1024;

/// Where Entra's tokens come from, in every cloud and of both versions.
const ENTRA_ISSUERS: [&str; 4] = [
    "https://sts.windows.net/",
    "https://sts.chinacloudapi.cn/",
    "https://login.microsoftonline.com/",
    "https://login.microsoftonline.us/",
];

/// Who a request is from.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Someone whom Entra knows, and who proved it.
    Entra(Arc<Identity>),
    /// Someone for the apiserver to judge.
    Other,
}

/// Checks callers, and remembers those that it has checked: a token is sent with every request.
pub(super) struct Authenticator {
    cluster_id: String,
    issuer: String,
    audience: String,
    keys: Arc<dyn AccessTokenKeys>,
    faults: Faults,
    accepted: RwLock<HashMap<String, Accepted>>,
    accepted_count: AtomicU64,
}

/// An accepted token.
#[derive(Debug)]
struct Accepted {
    identity: Arc<Identity>,
    /// When it is to be checked again, seconds since 1970.
    end: u64,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("cluster_id", &self.cluster_id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    pub(super) fn new(config: AadProxyConfig) -> Self {
        Self {
            cluster_id: config.cluster_id,
            issuer: config.issuer,
            audience: config.audience,
            keys: config.keys,
            faults: config.faults,
            accepted: RwLock::default(),
            accepted_count: AtomicU64::new(0),
        }
    }

    /// How many different tokens have been accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted_count.load(Ordering::Relaxed)
    }

    /// Says who a request with `headers` is from.
    ///
    /// # Errors
    ///
    /// The message of the refusal.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, String> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| strip_bearer(value))
            .ok_or("Unauthorized")?;
        let now = self.faults.cloud_time();
        if let Some(identity) = self.remembered(token, now) {
            return self.in_few_groups(identity);
        }
        if !self.is_entras(token) {
            return Ok(Caller::Other);
        }
        let checked = pop::verify(token, &self.cluster_id, now).and_then(|proof| {
            let identity = access_token::verify(
                &proof.access_token,
                &self.issuer,
                &self.audience,
                &*self.keys,
                now,
            )?;
            Ok((Arc::new(identity), proof.end))
        });
        let (identity, end) = checked.map_err(|error| format!("Error:{error}"))?;
        let caller = self.in_few_groups(Arc::clone(&identity))?;
        self.remember(token, identity, end, now);
        Ok(caller)
    }

    fn in_few_groups(&self, identity: Arc<Identity>) -> Result<Caller, String> {
        if self.faults.now().group_overage {
            return Err(format!("Error:{OVERAGE}"));
        }
        Ok(Caller::Entra(identity))
    }

    /// Whether `token` is a proof of possession, or else an access token of Entra's.
    fn is_entras(&self, token: &str) -> bool {
        let Ok(jws) = Jws::parse(token) else {
            return false;
        };
        let is_pop = jws
            .header_text("typ")
            .is_some_and(|typ| typ.eq_ignore_ascii_case("pop"));
        if is_pop || jws.claims.contains_key("at") {
            return true;
        }
        jws.claim_text("iss").is_some_and(|issuer| {
            issuer == self.issuer
                || ENTRA_ISSUERS
                    .iter()
                    .any(|entras| issuer.starts_with(entras))
        })
    }

    fn remembered(&self, token: &str, now: u64) -> Option<Arc<Identity>> {
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        let accepted = accepted.get(token)?;
        (now <= accepted.end).then(|| Arc::clone(&accepted.identity))
    }

    fn remember(&self, token: &str, identity: Arc<Identity>, end: u64, now: u64) {
        let mut accepted = self
            .accepted
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if accepted.len() >= REMEMBERED {
            accepted.retain(|_, accepted| accepted.end >= now);
        }
        if accepted.len() >= REMEMBERED {
            accepted.clear();
        }
        let end = end.min(identity.end);
        let before = accepted.insert(token.to_owned(), Accepted { identity, end });
        if before.is_none() {
            self.accepted_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn strip_bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}
