//! As whom requests are sent: an Entra identity with proof of possession, or a Kubernetes service
//! account by its token.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Failure, Reason, is_new, wait};
use crate::azure::arm::AuthenticationMethod;
use crate::azure::id::ClusterId;
use crate::azure::login::{AccessToken, SignIn, is_due};
use crate::azure::pop::PopKey;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::secret::Secret;

/// A signed request is taken for 15 minutes; a new one is signed after this many seconds,
pub(super) const RESIGN_SECONDS: u64 = 5 * 60;
/// and at the latest when a request finds it older than this.
const STALE_SECONDS: u64 = 12 * 60;

/// As whom requests are sent.
#[derive(Debug)]
pub enum Identity {
    /// An Entra user or service principal.
    Aad(Arc<Aad>),
    /// A Kubernetes service account.
    Token(ServiceAccount),
}

/// Where a service account's token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// Given once.
    Given(Secret),
    /// A file, which may be replaced while the program runs.
    File(PathBuf),
}

/// An Entra identity.
#[derive(Debug)]
pub struct Aad {
    sign_in: Arc<dyn SignIn>,
    scope: String,
    key: Arc<PopKey>,
    state: RwLock<Option<Signed>>,
    /// Held while a token is fetched; how the last fetch failed.
    renewing: Arc<Mutex<Option<Failure>>>,
}

/// An access token and the request that was signed with it.
#[derive(Debug, Clone)]
struct Signed {
    token: AccessToken,
    fetched: Instant,
    /// The same, and when it was signed, by the server's clock.
    fetched_unix: u64,
    at: u64,
    reason: Reason,
    header: HeaderValue,
}

/// A service account.
#[derive(Debug)]
pub struct ServiceAccount {
    source: TokenSource,
    header: RwLock<HeaderValue>,
}

impl Identity {
    /// The identity that `sign_in` gives, with tokens for `scope` bound to `key`.
    pub fn aad(sign_in: Arc<dyn SignIn>, scope: String, key: Arc<PopKey>) -> Self {
        Self::Aad(Arc::new(Aad {
            sign_in,
            scope,
            key,
            state: RwLock::default(),
            renewing: Arc::default(),
        }))
    }

    /// The service account whose token is `header` now and comes from `source`.
    pub fn service_account(source: TokenSource, header: HeaderValue) -> Self {
        Self::Token(ServiceAccount {
            source,
            header: RwLock::new(header),
        })
    }

    /// What ARM calls it.
    pub fn method(&self) -> AuthenticationMethod {
        match self {
            Self::Aad(_) => AuthenticationMethod::Aad,
            Self::Token(_) => AuthenticationMethod::Token,
        }
    }

    /// Gets what the first request needs.
    pub(super) async fn ready(&self, clock: &Clock, id: &ClusterId) -> Result<(), Error> {
        match self {
            Self::Aad(aad) => aad.renew(clock, id, Reason::Due).await,
            Self::Token(_) => Ok(()),
        }
    }

    /// The `Authorization` for the next request.
    pub(super) async fn authorization(
        &self,
        clock: &Clock,
        id: &ClusterId,
    ) -> Result<HeaderValue, Error> {
        match self {
            Self::Aad(aad) => aad.authorization(clock, id).await,
            Self::Token(account) => Ok(account
                .header
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()),
        }
    }

    /// Renews what is near its end, or was refused. Returns whether anything was.
    pub(super) async fn refresh(
        &self,
        clock: &Clock,
        id: &ClusterId,
        reason: Reason,
    ) -> Result<bool, Error> {
        match self {
            Self::Aad(aad) => aad.refresh(clock, id, reason).await,
            Self::Token(account) => account.reread().await,
        }
    }
}

impl Signed {
    /// Whether another token would be refused as this one is, at `now` by the server's clock.
    fn is_settled(&self, now: u64) -> bool {
        self.reason == Reason::Refused
            && is_new(self.fetched, self.fetched_unix, self.token.expires, now)
    }
}

impl Aad {
    async fn authorization(
        self: &Arc<Self>,
        clock: &Clock,
        id: &ClusterId,
    ) -> Result<HeaderValue, Error> {
        let now = clock.now();
        if let Some(header) = self.signed_lately(now) {
            return Ok(header);
        }
        if let Some(state) = self.state().filter(|state| now < state.token.expires) {
            return Ok(self.sign(state, clock, id)?.header);
        }
        let renewing = self.renew(clock, id, Reason::Due);
        wait::patiently((Code::SignInUnreachable, "a token"), renewing).await?;
        self.state()
            .map(|state| state.header)
            .ok_or_else(|| Error::new(Code::SignInRefused, "there is no token for the cluster"))
    }

    /// What was signed not too long before `now`. Every request comes by here: the token itself is
    /// not copied.
    fn signed_lately(&self, now: u64) -> Option<HeaderValue> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_ref()?;
        let is_good = now < state.token.expires && now.abs_diff(state.at) < STALE_SECONDS;
        is_good.then(|| state.header.clone())
    }

    async fn refresh(
        self: &Arc<Self>,
        clock: &Clock,
        id: &ClusterId,
        reason: Reason,
    ) -> Result<bool, Error> {
        let Some(state) = self.state() else {
            return self.renew(clock, id, Reason::Due).await.map(|()| true);
        };
        let now = clock.now();
        if is_due(now, state.fetched_unix, state.token.expires) {
            return self.renew(clock, id, Reason::Due).await.map(|()| true);
        }
        if reason == Reason::Refused && !state.is_settled(now) {
            tracing::info!(cluster = id.name, "the cluster refuses the token");
            return self.renew(clock, id, reason).await.map(|()| true);
        }
        if now.abs_diff(state.at) >= RESIGN_SECONDS {
            return self.sign(state, clock, id).map(|_| true);
        }
        Ok(false)
    }

    /// Gets a new access token and signs with it. Concurrent calls get one.
    async fn renew(
        self: &Arc<Self>,
        clock: &Clock,
        id: &ClusterId,
        reason: Reason,
    ) -> Result<(), Error> {
        let before = self.state().map(|state| state.fetched);
        let mut failure = self.renewing.clone().lock_owned().await;
        let state = self.state();
        let renewed = state.as_ref().map(|state| state.fetched) != before;
        if renewed && state.is_some_and(|state| clock.now() < state.token.expires) {
            return Ok(());
        }
        if let Some(failure) = &*failure
            && failure.is_recent()
        {
            return Err(failure.error.clone());
        }
        let (this, clock, id) = (self.clone(), clock.clone(), id.clone());
        wait::on_its_own(async move {
            let fetched = this.sign_in.bound(&this.scope, &this.key).await;
            *failure = fetched.as_ref().err().map(Failure::now);
            let unsigned = Signed {
                token: fetched?,
                fetched: Instant::now(),
                fetched_unix: clock.now(),
                at: 0,
                reason,
                header: HeaderValue::from_static(""),
            };
            this.sign(unsigned, &clock, &id).map(|_| ())
        })
        .await
    }

    fn sign(&self, state: Signed, clock: &Clock, id: &ClusterId) -> Result<Signed, Error> {
        let now = clock.now();
        let broken = |error: &(dyn std::error::Error + 'static)| {
            Error::new(Code::Unexpected, "cannot sign for the cluster").caused_by(error)
        };
        let signed = self
            .key
            .sign(&state.token.secret, &id.to_string(), now)
            .map_err(|error| broken(&error))?;
        let header = signed.bearer().map_err(|error| broken(&error))?;
        let state = Signed {
            header,
            at: now,
            ..state
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
        Ok(state)
    }

    fn state(&self) -> Option<Signed> {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ServiceAccount {
    /// Reads the file again, if it is one that can be.
    async fn reread(&self) -> Result<bool, Error> {
        let TokenSource::File(path) = &self.source else {
            return Ok(false);
        };
        // A pipe gives its token once.
        if !tokio::fs::metadata(path)
            .await
            .is_ok_and(|file| file.is_file())
        {
            return Ok(false);
        }
        let header = self.source.header().await?;
        let mut now = self.header.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *now != header;
        *now = header;
        Ok(changed)
    }
}

impl TokenSource {
    /// The token as an `Authorization`.
    ///
    /// # Errors
    /// The file cannot be read, or what it holds is no token.
    pub async fn header(&self) -> Result<HeaderValue, Error> {
        match self {
            Self::Given(secret) => bearer(secret, "--token"),
            Self::File(path) => {
                let from = path.display().to_string();
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    Error::new(Code::Usage, format!("cannot read the token file {from}"))
                        .caused_by(&error)
                        .hinted("give a file with a service-account token, or - for stdin")
                })?;
                bearer(&Secret::from(text.trim()), &from)
            }
        }
    }
}

fn bearer(secret: &Secret, from: &str) -> Result<HeaderValue, Error> {
    let bad = |why: &str| {
        Error::new(
            Code::Usage,
            format!("the service-account token from {from} {why}"),
        )
        .hinted("`kubectl create token NAME` makes one")
    };
    if secret.is_empty() {
        return Err(bad("is empty"));
    }
    if secret.expose().contains(char::is_whitespace) {
        return Err(bad("has white space in it"));
    }
    secret
        .bearer()
        .map_err(|_| bad("has bytes in it that no token has"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::super::JUST_FETCHED;
    use super::*;

    /// Gives tokens for an hour while it has permits, and counts how often it is asked.
    #[derive(Debug)]
    struct Counted {
        asked: AtomicUsize,
        permits: Semaphore,
    }

    impl Counted {
        fn new(permits: usize) -> Arc<Self> {
            Arc::new(Self {
                asked: AtomicUsize::new(0),
                permits: Semaphore::new(permits),
            })
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    #[async_trait]
    impl SignIn for Counted {
        fn description(&self) -> String {
            "nobody".to_owned()
        }

        async fn bearer(&self, _: &str) -> Result<AccessToken, Error> {
            unreachable!("only bound tokens are asked for")
        }

        async fn replaced(&self, scope: &str, _: &Secret) -> Result<AccessToken, Error> {
            self.bearer(scope).await
        }

        async fn bound(&self, _: &str, _: &PopKey) -> Result<AccessToken, Error> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            self.permits.acquire().await.expect("open").forget();
            Ok(AccessToken {
                secret: Secret::from(format!("token-{number}")),
                expires: NOW + 3_600,
            })
        }
    }

    const NOW: u64 = 1_790_000_000;

    fn cluster() -> ClusterId {
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c"
            .parse()
            .expect("valid")
    }

    fn identity(sign_in: &Arc<Counted>) -> Identity {
        let key = Arc::new(PopKey::generate().expect("a key"));
        Identity::aad(sign_in.clone(), "scope".to_owned(), key)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_so_long_and_what_it_began_goes_on() {
        let (sign_in, clock, id) = (Counted::new(0), Clock::fixed(NOW), cluster());
        let identity = identity(&sign_in);
        let error = identity.authorization(&clock, &id).await;
        let error = error.expect_err("nobody has signed in");
        assert_eq!(error.code(), Code::SignInUnreachable);
        assert!(error.hint().contains("asked to sign in"), "{error}");
        // It is gone, and so is this one, which waited for what the first began.
        let soon = Duration::from_secs(1);
        let second = timeout(soon, identity.authorization(&clock, &id)).await;
        second.expect_err("nobody has yet");
        sign_in.permits.add_permits(1);
        let third = identity.authorization(&clock, &id).await;
        third.expect("a token");
        assert_eq!(sign_in.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_replaced_and_not_for_ever() {
        let (sign_in, clock, id) = (Counted::new(9), Clock::fixed(NOW), cluster());
        let identity = identity(&sign_in);
        identity.ready(&clock, &id).await.expect("a token");
        let refreshed = async |reason| {
            let refreshed = identity.refresh(&clock, &id, reason).await;
            (refreshed.expect("it works"), sign_in.asked())
        };
        assert_eq!(refreshed(Reason::Due).await, (false, 1));
        // However new it is, but another one is not refused for the same reason.
        assert_eq!(refreshed(Reason::Refused).await, (true, 2));
        assert_eq!(refreshed(Reason::Refused).await, (false, 2));
        tokio::time::advance(JUST_FETCHED).await;
        assert_eq!(refreshed(Reason::Due).await, (false, 2));
        assert_eq!(refreshed(Reason::Refused).await, (true, 3));
    }

    #[test]
    fn a_token_is_checked_before_it_is_sent() {
        let error = |text: &str| bearer(&text.into(), "x").expect_err(text).to_string();
        assert!(error("").contains("empty"));
        assert!(error("a b").contains("white space"));
        assert!(error("a\u{7f}").contains("bytes"));
    }
}
