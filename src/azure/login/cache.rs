//! Bearer tokens that are still good.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use tokio::sync::Mutex;

use super::{AccessToken, is_due};
use crate::clock::Clock;
use crate::error::Error;
use crate::secret::Secret;

/// The newest token for each scope. Concurrent calls for one scope fetch it once.
pub(super) struct BearerCache {
    clock: Clock,
    scopes: std::sync::Mutex<HashMap<String, Arc<Slot>>>,
}

/// What is known of one scope.
#[derive(Default)]
struct Slot {
    kept: std::sync::Mutex<Option<Kept>>,
    /// Held while a token is fetched.
    fetching: Mutex<()>,
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
            scopes: std::sync::Mutex::default(),
        }
    }

    /// The token for `scope`; `fetch` gets one if there is none that is good. While the old one
    /// still lives, it is the answer as long as another call fetches, and a `fetch` that fails is a
    /// warning.
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
        let slot = self.slot(scope);
        if let Some(good) = slot.good(self.clock.now()) {
            return Ok(good);
        }
        let _turn = match slot.fetching.try_lock() {
            Ok(turn) => turn,
            Err(_) => match slot.living(self.clock.now()) {
                Some(old) => return Ok(old),
                None => slot.fetching.lock().await,
            },
        };
        if let Some(good) = slot.good(self.clock.now()) {
            return Ok(good);
        }
        match (fetch().await, slot.living(self.clock.now())) {
            (Ok(token), _) => Ok(self.keep(&slot, token)),
            (Err(error), Some(old)) => {
                tracing::warn!(%error, scope, "a token could not be renewed; the old one still lives");
                Ok(old)
            }
            (Err(error), None) => Err(error),
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
        let slot = self.slot(scope);
        let _turn = slot.fetching.lock().await;
        if let Some(kept) = slot.kept()
            && kept.token.secret != *refused
        {
            return Ok(kept.token);
        }
        let token = fetch().await?;
        Ok(self.keep(&slot, token))
    }

    /// Whether the token for `scope` is due for renewal but still lives.
    pub(super) fn is_due_but_lives(&self, scope: &str) -> bool {
        let (slot, now) = (self.slot(scope), self.clock.now());
        slot.good(now).is_none() && slot.living(now).is_some()
    }

    fn keep(&self, slot: &Slot, token: AccessToken) -> AccessToken {
        let kept = Kept {
            token: token.clone(),
            fetched: self.clock.now(),
        };
        *slot.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        token
    }

    fn slot(&self, scope: &str) -> Arc<Slot> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.entry(scope.to_owned()).or_default().clone()
    }
}

impl Slot {
    fn kept(&self) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// The token, if it is not due for renewal at `now`.
    fn good(&self, now: u64) -> Option<AccessToken> {
        let kept = self.kept()?;
        (!is_due(now, kept.fetched, kept.token.expires)).then_some(kept.token)
    }

    /// The token, if it lives at `now`.
    fn living(&self, now: u64) -> Option<AccessToken> {
        let token = self.kept()?.token;
        (now < token.expires).then_some(token)
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

    /// A token that is due and ends at `end`.
    fn with_old(cache: &BearerCache, end: u64) {
        *cache.slot("a").kept.lock().expect("whole") = Some(Kept {
            token: token("old", end),
            fetched: end - 3600,
        });
    }

    #[tokio::test]
    async fn the_old_one_is_given_out_while_a_new_one_is_fetched() {
        let clock = Clock::system();
        let cache = BearerCache::new(clock.clone());
        with_old(&cache, clock.now() + 60);
        assert!(cache.is_due_but_lives("a"));
        let (answer, answered) = tokio::sync::oneshot::channel();
        let fetching = cache.get("a", || async { answered.await.expect("answered") });
        let others = async {
            let old = text(&cache, "a", refused()).await;
            assert_eq!(old.expect("a token"), "old");
            let end = clock.now() + 3600;
            answer.send(Ok(token("new", end))).expect("is awaited");
        };
        let (fetched, ()) = tokio::join!(fetching, others);
        assert_eq!(fetched.expect("a token").secret.expose(), "new");
        assert_eq!(text(&cache, "a", refused()).await.expect("a token"), "new");
        assert!(!cache.is_due_but_lives("a"));
    }

    #[tokio::test]
    async fn without_one_that_lives_a_fetch_is_waited_for() {
        let cache = BearerCache::new(Clock::system());
        with_old(&cache, 3600);
        assert!(!cache.is_due_but_lives("a"));
        let end = Clock::system().now() + 3600;
        let fetch = || async {
            tokio::task::yield_now().await;
            Ok(token("new", end))
        };
        let other = text(&cache, "a", refused());
        let (_, other) = tokio::join!(cache.get("a", fetch), other);
        assert_eq!(other.expect("a token"), "new");
    }

    #[tokio::test]
    async fn one_near_its_end_is_replaced_and_kept_if_that_fails() {
        let clock = Clock::system();
        let soon = clock.now() + 2;
        let cache = BearerCache::new(clock.clone());
        with_old(&cache, soon);
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
