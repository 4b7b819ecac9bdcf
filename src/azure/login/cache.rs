//! Bearer tokens that are still good.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{AccessToken, is_due};
use crate::clock::Clock;
use crate::error::Error;
use crate::secret::Secret;

/// The newest token for each scope. Concurrent calls for one scope fetch it once.
pub(super) struct BearerCache {
    clock: Clock,
    scopes: Mutex<HashMap<String, Arc<Mutex<Option<Kept>>>>>,
}

#[derive(Clone)]
struct Kept {
    token: AccessToken,
    /// Seconds since 1970.
    fetched: u64,
}

impl BearerCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            scopes: Mutex::default(),
        }
    }

    /// The token for `scope`; `fetch` gets one if there is none that is good. While the old one
    /// still lives, a `fetch` that fails is a warning and the old one the answer.
    ///
    /// Cancel safe: what is cut short is fetched by the next call.
    pub(super) async fn get<F>(
        &self,
        scope: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<AccessToken, Error>
    where
        F: Future<Output = Result<AccessToken, Error>>,
    {
        let slot = self.slot(scope).await;
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some(kept) = &*slot
            && !is_due(now, kept.fetched, kept.token.expires)
        {
            return Ok(kept.token.clone());
        }
        match (fetch().await, &*slot) {
            (Ok(token), _) => {
                let fetched = self.clock.now();
                *slot = Some(Kept {
                    token: token.clone(),
                    fetched,
                });
                Ok(token)
            }
            (Err(error), Some(kept)) if self.clock.now() < kept.token.expires => {
                tracing::warn!(%error, scope, "a token could not be renewed; the old one still lives");
                Ok(kept.token.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A token for `scope` in the place of `refused`: the one that took it already, or what `fetch`
    /// gets.
    ///
    /// Cancel safe: what is cut short is fetched by the next call.
    pub(super) async fn replace<F>(
        &self,
        scope: &str,
        refused: &Secret,
        fetch: impl FnOnce() -> F,
    ) -> Result<AccessToken, Error>
    where
        F: Future<Output = Result<AccessToken, Error>>,
    {
        let slot = self.slot(scope).await;
        let mut slot = slot.lock().await;
        if let Some(kept) = &*slot
            && kept.token.secret != *refused
        {
            return Ok(kept.token.clone());
        }
        let token = fetch().await?;
        let fetched = self.clock.now();
        *slot = Some(Kept {
            token: token.clone(),
            fetched,
        });
        Ok(token)
    }

    async fn slot(&self, scope: &str) -> Arc<Mutex<Option<Kept>>> {
        let mut scopes = self.scopes.lock().await;
        scopes.entry(scope.to_owned()).or_default().clone()
    }
}

impl fmt::Debug for BearerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn token(text: &str, expires: u64) -> AccessToken {
        AccessToken {
            secret: text.into(),
            expires,
        }
    }

    fn refused() -> Result<AccessToken, Error> {
        Err(Error::new(Code::SignInRefused, "refused"))
    }

    async fn text(
        cache: &BearerCache,
        scope: &str,
        fetched: Result<AccessToken, Error>,
    ) -> Result<String, Error> {
        let token = cache.get(scope, || async { fetched }).await?;
        Ok(token.secret.expose().to_owned())
    }

    #[tokio::test]
    async fn a_good_token_is_kept_for_its_scope() {
        let clock = Clock::system();
        let end = clock.now() + 3600;
        let cache = BearerCache::new(clock);
        assert_eq!(
            text(&cache, "a", Ok(token("1", end)))
                .await
                .expect("a token"),
            "1"
        );
        assert_eq!(text(&cache, "a", refused()).await.expect("a token"), "1");
        assert_eq!(
            text(&cache, "b", Ok(token("2", end)))
                .await
                .expect("a token"),
            "2"
        );
    }

    #[tokio::test]
    async fn one_near_its_end_is_replaced_and_kept_if_that_fails() {
        let clock = Clock::system();
        let soon = clock.now() + 2;
        let cache = BearerCache::new(clock.clone());
        *cache.scopes.lock().await = HashMap::from([(
            "a".to_owned(),
            Arc::new(Mutex::new(Some(Kept {
                token: token("old", soon),
                fetched: soon - 3600,
            }))),
        )]);
        assert_eq!(text(&cache, "a", refused()).await.expect("a token"), "old");
        let end = clock.now() + 3600;
        let renewed = text(&cache, "a", Ok(token("new", end))).await;
        assert_eq!(renewed.expect("a token"), "new");
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once() {
        let clock = Clock::system();
        let end = clock.now() + 3600;
        let cache = BearerCache::new(clock);
        let old = text(&cache, "a", Ok(token("old", end))).await;
        let old = Secret::from(old.expect("a token"));
        for fetched in [Ok(token("new", end)), refused()] {
            let replaced = cache.replace("a", &old, || async { fetched }).await;
            assert_eq!(replaced.expect("a token").secret.expose(), "new");
        }
        assert_eq!(text(&cache, "a", refused()).await.expect("a token"), "new");
    }

    #[tokio::test]
    async fn without_a_token_the_failure_is_told() {
        let cache = BearerCache::new(Clock::system());
        assert!(text(&cache, "a", refused()).await.is_err());
    }
}
